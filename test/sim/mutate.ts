/** A part of the product with one rule changed: its sources are rewritten in memory, bundled and imported. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import * as accounts from "@shardwright/job/accounts";
import * as planner from "@shardwright/planner";
import { build, type Plugin } from "esbuild";
import type { Core } from "./plane.ts";

export interface Mutant extends Edit {
  readonly name: string;
  /** Where two rules guard the same thing, the other one goes as well. */
  readonly and?: Edit;
  /** Its loss shows only in worlds that test/model searches. */
  readonly onlyBySearch?: true;
}

export interface Edit {
  /** Name of the file it stands in. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly rule: string;
  readonly instead: string;
}

const CORE = fileURLToPath(new URL("../../packages/control-plane/src/core/", import.meta.url));
const CORE_HOST = { ...planner, ...accounts };
/** Where the bundle finds the packages that this process has loaded already. */
const HOST = "shardwrightSimulationHost";

/** Rejects when the rule is not in the source any more: then the mutant, or the rule, needs a new look. */
export async function mutated(mutant: Mutant): Promise<Core> {
  const contents = [
    `export { decide } from "./lifecycle.ts";`,
    `export { directivesFor } from "./directives.ts";`,
    `export { silenceAll } from "./members.ts";`,
  ].join("\n");
  return (await mutatedPart(mutant, { folder: CORE, contents, host: CORE_HOST })) as Core;
}

export interface Part {
  /** Where the part's sources are. */
  readonly folder: string;
  /** What it exports: a module in that folder. */
  readonly contents: string;
  /** What its sources import from our packages, under their own names. */
  readonly host: object;
}

/** A part of the product with one rule changed; rejects like `mutated`. */
export async function mutatedPart(mutant: Mutant, part: Part): Promise<unknown> {
  Object.assign(globalThis, { [HOST]: part.host });
  const missing = new Set(editsOf(mutant).map(({ file }) => file));
  const result = await build({
    stdin: { contents: part.contents, resolveDir: part.folder, loader: "ts" },
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    logLevel: "silent",
    plugins: [rewriting(mutant, missing)],
  });
  if (missing.size > 0)
    throw new Error(`"${mutant.name}": ${[...missing].join(", ")} is not loaded`);
  const text = result.outputFiles[0]?.text ?? "";
  return await import(`data:text/javascript,${encodeURIComponent(text)}`);
}

function editsOf(mutant: Mutant): readonly Edit[] {
  return mutant.and === undefined ? [mutant] : [mutant, mutant.and];
}

function rewriting(mutant: Mutant, missing: Set<string>): Plugin {
  const edits = editsOf(mutant);
  return {
    name: "mutant",
    setup(bundle) {
      bundle.onResolve({ filter: /^@shardwright\// }, ({ path }) => ({ path, namespace: "host" }));
      bundle.onLoad({ filter: /.*/, namespace: "host" }, () => ({
        contents: `module.exports = globalThis.${HOST};`,
        loader: "js",
      }));
      bundle.onLoad({ filter: /\/src\/[a-z/-]+\.ts$/ }, ({ path }) => {
        let contents = readFileSync(path, "utf8");
        for (const { file, rule, instead } of edits) {
          if (basename(path) !== file) continue;
          const parts = contents.split(rule);
          if (parts.length !== 2)
            throw new Error(
              `"${mutant.name}": its rule stands ${parts.length - 1} times in ${file}`,
            );
          contents = parts.join(instead);
          missing.delete(file);
        }
        return { contents, loader: "ts" };
      });
    },
  };
}
