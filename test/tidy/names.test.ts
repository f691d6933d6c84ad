import { describe, expect, it } from "vitest";
import { filesOf, textOf } from "./tree.ts";

const all = filesOf();
const generated = (path: string): boolean =>
  /src\/gen\/|\/_proto\/|package-lock\.json|requirements\.lock/.test(path);
const text = all.filter(
  (path) => /\.(ts|mjs|py|md|json|ya?ml|proto|toml)$/.test(path) && !generated(path),
);

describe("names", () => {
  it("has no file without an owner", () => {
    const wrong = all.filter((path) =>
      /(^|[/_-])(utils?|helpers?|common|misc|manager)\.(ts|py|mjs)$/.test(path),
    );
    expect(wrong).toEqual([]);
  });

  it("names TypeScript files in kebab-case and Python files in snake_case", () => {
    const wrong = all.filter((path) => {
      const name = path.split("/").at(-1) ?? "";
      if (path.includes("/src/gen/") || path.includes("/_proto/")) return false;
      if (name.endsWith(".ts"))
        return !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config|d))?\.ts$/.test(name);
      if (name.endsWith(".py")) return !/^_?_?[a-z0-9]+(_[a-z0-9]+)*_?_?\.py$/.test(name);
      return false;
    });
    expect(wrong).toEqual([]);
  });

  it("marks unfinished work only with an issue", () => {
    const wrong = text.flatMap((path) =>
      textOf(path)
        .split("\n")
        .map((line, index) => ({ line, at: `${path}:${index + 1}` }))
        .filter(({ line }) => /\b(TODO|FIXME|XXX)\b/.test(line) && !/#\d+/.test(line))
        .map(({ at }) => at),
    );
    expect(wrong.filter((at) => !at.startsWith("test/tidy/"))).toEqual([]);
  });

  it("stands alone: no path of a machine, no word about how it is built", () => {
    const forbidden = new RegExp(
      [`(^|[\\s"'(\`=])/work` + "/", "\\.\\./shared/(design|layout|style|reference)"].join("|"),
    );
    expect(text.filter((path) => forbidden.test(textOf(path)))).toEqual([]);
  });

  it("says LoRA's r, never its rank", () => {
    const wrong = text.filter(
      (path) =>
        path.startsWith("packages/") && /\blora[_ -]?rank\b|\bloraRank\b/i.test(textOf(path)),
    );
    expect(wrong).toEqual([]);
  });
});

describe("sizes (reported, not failed)", () => {
  it("lists the largest files", () => {
    const sizes = text
      .filter((path) => /^packages\/.*\.(ts|py)$/.test(path) && !/\.test\.ts$|\/tests\//.test(path))
      .map((path) => ({ path, lines: textOf(path).split("\n").length }))
      .sort((a, b) => b.lines - a.lines);
    const over = sizes.filter(({ lines }) => lines > 300);
    if (over.length > 0) {
      process.stdout.write(
        `files over 300 lines: ${over.map(({ path, lines }) => `${path} ${lines}`).join(", ")}\n`,
      );
    }
    expect(sizes.length).toBeGreaterThan(50);
  });
});
