/** The core with one rule changed: its sources are rewritten in memory, bundled and imported. */
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
  /** File in the core. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly rule: string;
  readonly instead: string;
}

const CORE = fileURLToPath(new URL("../../packages/control-plane/src/core/", import.meta.url));
/** Where the bundle finds the packages that this process has loaded already. */
const HOST = "shardwrightSimulationHost";

/** Rejects when the rule is not in the source any more: then the mutant, or the rule, needs a new look. */
export async function mutated(mutant: Mutant): Promise<Core> {
  Object.assign(globalThis, { [HOST]: { ...planner, ...accounts } });
  const result = await build({
    stdin: {
      contents: [
        `export { decide } from "./lifecycle.ts";`,
        `export { directivesFor } from "./directives.ts";`,
        `export { silenceAll } from "./members.ts";`,
      ].join("\n"),
      resolveDir: CORE,
      loader: "ts",
    },
    bundle: true,
    write: false,
    format: "esm",
    logLevel: "silent",
    plugins: [rewriting(mutant)],
  });
  const text = result.outputFiles[0]?.text ?? "";
  return (await import(`data:text/javascript,${encodeURIComponent(text)}`)) as Core;
}

function rewriting(mutant: Mutant): Plugin {
  const edits: readonly Edit[] = mutant.and === undefined ? [mutant] : [mutant, mutant.and];
  return {
    name: "mutant",
    setup(bundle) {
      bundle.onResolve({ filter: /^@shardwright\// }, ({ path }) => ({ path, namespace: "host" }));
      bundle.onLoad({ filter: /.*/, namespace: "host" }, () => ({
        contents: `module.exports = globalThis.${HOST};`,
        loader: "js",
      }));
      bundle.onLoad({ filter: /core\/[a-z-]+\.ts$/ }, ({ path }) => {
        let contents = readFileSync(path, "utf8");
        for (const { file, rule, instead } of edits) {
          if (basename(path) !== file) continue;
          const parts = contents.split(rule);
          if (parts.length !== 2)
            throw new Error(
              `"${mutant.name}": its rule stands ${parts.length - 1} times in ${file}`,
            );
          contents = parts.join(instead);
        }
        return { contents, loader: "ts" };
      });
    },
  };
}
