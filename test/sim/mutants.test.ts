import { afterAll, describe, expect, it } from "vitest";
import { MUTANTS } from "./mutants.ts";
import { mutated } from "./mutate.ts";
import { scenarioOf } from "./scenario.ts";
import { Violation } from "./watch.ts";
import { World } from "./world.ts";

// Most are noticed within a few dozen; one that needs more than this is not noticed in practice.
const SEEDS_MAX = 4_000;
const LIMIT_MS = 120_000;

const caught: string[] = [];
afterAll(() => {
  process.stdout.write(`${caught.join("\n")}\n`);
});

describe("a rule that is deleted", () => {
  it.each(
    MUTANTS.filter(({ onlyBySearch }) => !onlyBySearch).map(
      (mutant) => [mutant.name, mutant] as const,
    ),
  )(
    "is missed: %s",
    async (name, mutant) => {
      const core = await mutated(mutant);
      let noticed: string | null = null;
      for (let seed = 0; seed < SEEDS_MAX && noticed === null; seed++) {
        try {
          new World(scenarioOf(seed), core).run();
        } catch (reason) {
          const invariant = reason instanceof Violation ? reason.invariant : String(reason);
          noticed = `${name}: seed ${seed}, ${invariant}`;
        }
      }
      caught.push(noticed ?? `${name}: SURVIVES ${SEEDS_MAX} seeds`);
      expect(noticed).not.toBeNull();
    },
    LIMIT_MS,
  );
});
