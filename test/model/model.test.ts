import { afterAll, describe, expect, it } from "vitest";
import { directivesFor } from "../../packages/control-plane/src/core/directives.ts";
import { decide } from "../../packages/control-plane/src/core/lifecycle.ts";
import { silenceAll } from "../../packages/control-plane/src/core/members.ts";
import { mutated } from "../sim/mutate.ts";
import { CONFIGS, MODEL_MUTANTS } from "./configs.ts";
import { type Found, search } from "./search.ts";

const CORE = { decide, directivesFor, silenceAll };
/** `long`: no limit on states; takes minutes to hours. */
const IS_LONG = process.env["SHARDWRIGHT_MODEL"] === "long";
// A few seconds each on an idle core; the whole file stays far below its minute and a half.
const STATES_MAX = 6_000;
const STATES_MAX_LONG = 20_000_000;
const LIMIT_MS = IS_LONG ? 86_400_000 : 300_000;

const lines: string[] = [];
afterAll(() => {
  process.stdout.write(`${lines.join("\n")}\n`);
});

function told(name: string, found: Found): string {
  const { states, moves, depth, seconds, isCut } = found;
  const reach = isCut ? "cut" : "complete";
  return `${name}: ${states} states, ${moves} moves, depth ${depth}, ${seconds.toFixed(1)} s, ${reach}`;
}

describe("the protocol, searched", () => {
  it.each(CONFIGS.map((config) => [config.name, config] as const))(
    "%s",
    (name, config) => {
      const found = search(config, CORE, IS_LONG ? STATES_MAX_LONG : STATES_MAX);
      lines.push(told(name, found));
      const { problem } = found;
      expect(problem === null ? "" : `${problem.what}\n  ${problem.trace.join("\n  ")}`).toBe("");
      if (config.isSmall)
        expect({ isCut: found.isCut, ends: found.ends > 0 }).toEqual({ isCut: false, ends: true });
    },
    LIMIT_MS,
  );
});

describe("a rule that is deleted", () => {
  it.each(MODEL_MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
    "leaves a way to what must not be: %s",
    async (name, mutant) => {
      const core = await mutated(mutant);
      let what: string | null = null;
      for (const config of CONFIGS) {
        const { problem } = search(config, core, STATES_MAX);
        if (problem === null) continue;
        what = `${problem.what.split("\n")[0]} (${config.name}, ${problem.trace.length} moves)`;
        break;
      }
      lines.push(`${name}: ${what ?? "SURVIVES"}`);
      expect(what).not.toBeNull();
    },
    LIMIT_MS,
  );
});
