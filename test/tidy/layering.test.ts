import { describe, expect, it } from "vitest";
import { codeOf, filesOf, importsOf } from "./tree.ts";

/** Which of our packages a package may import, and which third-party ones. */
const MAY_IMPORT: Record<string, { ours: string[]; theirs: string[] }> = {
  proto: { ours: [], theirs: ["@bufbuild/protobuf/wire", "@grpc/grpc-js"] },
  job: { ours: ["proto"], theirs: ["zod"] },
  planner: { ours: ["job", "proto"], theirs: [] },
  scheduler: { ours: ["job", "planner"], theirs: [] },
  service: { ours: ["proto", "job"], theirs: ["@grpc/grpc-js", "pino", "prom-client", "zod"] },
  "control-plane": {
    ours: ["proto", "job", "planner", "scheduler", "service"],
    theirs: ["pg", "zod", "@grpc/grpc-js", "yaml"],
  },
  "checkpoint-manager": {
    ours: ["proto", "job", "planner", "service"],
    theirs: ["@grpc/grpc-js", "zod"],
  },
  "metrics-exporter": { ours: ["proto", "job", "service"], theirs: ["prom-client", "zod"] },
  cli: {
    ours: ["proto", "job", "planner", "service"],
    theirs: ["commander", "yaml", "@grpc/grpc-js"],
  },
};
/** The one place that sees several services. */
const COMPOSITION = "packages/cli/src/up/compose.ts";
const SERVICES = ["control-plane", "checkpoint-manager", "metrics-exporter"];

const sources = filesOf("packages/*/src/**/*.ts").filter(
  (path) => !path.endsWith(".test.ts") && !path.includes("/src/gen/"),
);

function wrongImportsOf(path: string): readonly string[] {
  const name = path.split("/")[1] ?? "";
  const rule = MAY_IMPORT[name];
  if (!rule) return [`${path}: package ${name} is not in the table`];
  const mayImport = (module: string): boolean => {
    if (module.startsWith(".") || module.startsWith("node:")) return true;
    const ours = /^@shardwright\/([a-z-]+)/.exec(module)?.[1];
    if (ours === undefined) return rule.theirs.includes(module);
    const isComposed = path === COMPOSITION && SERVICES.includes(ours);
    return ours === name || rule.ours.includes(ours) || isComposed;
  };
  return importsOf(path)
    .filter((module) => !mayImport(module))
    .map((module) => `${path} imports ${module}`);
}

describe("layering", () => {
  it("finds the sources", () => {
    expect(sources.length).toBeGreaterThan(50);
  });

  it("imports only what the package may", () => {
    expect(sources.flatMap(wrongImportsOf)).toEqual([]);
  });

  it("keeps relative imports inside the package", () => {
    const wrong = sources.flatMap((path) => {
      const depth = path.split("/").length - 4;
      return importsOf(path)
        .filter((module) => (module.match(/\.\.\//g)?.length ?? 0) > depth + 1)
        .map((module) => `${path} imports ${module}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe("purity", () => {
  const PURE = /^packages\/(job|planner|scheduler)\/src\/|^packages\/[a-z-]+\/src\/core\//;
  const FORBIDDEN: [RegExp, string][] = [
    [/\bDate\s*[.(]/, "Date"],
    [/\bnew Date\(\s*\)/, "new Date()"],
    [/\bMath\.random\b/, "Math.random"],
    [/\b(setTimeout|setInterval|setImmediate|queueMicrotask)\b/, "timers"],
    [/\b(async|await)\b/, "async"],
    [/\bPromise\b/, "Promise"],
    [/\bprocess\b\s*[.[]/, "process"],
    [/\bfetch\s*\(/, "fetch"],
  ];
  const pure = sources.filter((path) => PURE.test(path));

  it("finds the pure folders", () => {
    expect(pure.length).toBeGreaterThan(30);
  });

  it("uses no clock, chance, waiting or process", () => {
    const wrong = pure.flatMap((path) => {
      // `new Date(milliseconds)` is a conversion at the wire's edge, not a clock.
      const code = codeOf(path).replaceAll(/new Date\((?=[^)])/g, "asDate(");
      return FORBIDDEN.filter(([pattern]) => pattern.test(code)).map(
        ([, what]) => `${path} uses ${what}`,
      );
    });
    expect(wrong).toEqual([]);
  });

  it("imports nothing but zod from others", () => {
    const wrong = pure.flatMap((path) =>
      importsOf(path)
        .filter(
          (module) =>
            !module.startsWith(".") && !module.startsWith("@shardwright/") && module !== "zod",
        )
        .map((module) => `${path} imports ${module}`),
    );
    expect(wrong).toEqual([]);
  });

  it("imports generated code only in wire.ts, rpc folders and shells", () => {
    const wrong = pure
      .filter(
        (path) =>
          !/\/wire[a-z-]*\.ts$/.test(path) && importsOf(path).includes("@shardwright/proto"),
      )
      .map((path) => `${path} imports @shardwright/proto`);
    expect(wrong).toEqual([]);
  });
});

describe("python layering", () => {
  const files = filesOf("packages/trainer/shardwright_trainer/**/*.py").filter(
    (path) => !path.includes("/_proto/"),
  );
  const importing = (pattern: RegExp, folder: RegExp): string[] =>
    files.filter((path) => folder.test(path) && pattern.test(codeOf(path)));

  it("never imports grpc in a rank process", () => {
    const inRank = /\/(rank|plan|data|blocks|nn)\//;
    expect(importing(/^\s*(import|from) grpc\b/m, inRank)).toEqual([]);
  });

  it("keeps plan and data free of torch", () => {
    expect(importing(/^\s*(import|from) torch\b/m, /\/(plan|data)\//)).toEqual([]);
  });

  it("has no pickle and no trust_remote_code", () => {
    expect(importing(/\b(import pickle|torch\.load\(|trust_remote_code\s*=\s*True)/, /./)).toEqual(
      [],
    );
  });
});
