import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { Io } from "./io.ts";
import { buildProgram } from "./main.ts";
import { reference } from "./reference.ts";
import { VERBS } from "./verbs.ts";

const DOCUMENT = fileURLToPath(new URL("../../../docs/cli.md", import.meta.url));

it("docs/cli.md says what the verbs say (npm run reference -w @shardwright/cli)", () => {
  expect(readFileSync(DOCUMENT, "utf8")).toBe(reference(VERBS));
});

it("knows every command that commander knows", () => {
  const io = { columns: 80, env: {}, cwd: "/" } as Io;
  const program = buildProgram(io, () => undefined);
  const paths = program.commands.flatMap((command) =>
    command.commands.length === 0
      ? [command.name()]
      : command.commands.map((child) => `${command.name()} ${child.name()}`),
  );
  const documented = [...reference(VERBS).matchAll(/^## ([a-z -]+)$/gm)].map(([, name]) => name);
  expect(documented).toEqual(expect.arrayContaining(paths.filter((path) => !path.startsWith("_"))));
});
