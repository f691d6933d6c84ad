/** The small worlds that are searched, and the rules whose loss the search must find. */

import { MUTANTS } from "../sim/mutants.ts";
import type { Mutant } from "../sim/mutate.ts";
import type { Config, FaultKind } from "./state.ts";

export interface Searched extends Config {
  /** Searched to the end in every run; the others only up to a limit, and to the end in the long mode. */
  readonly isSmall: boolean;
}

function config(name: string, kinds: readonly FaultKind[], more: Partial<Searched> = {}): Searched {
  return {
    name,
    members: 2,
    method: "lora",
    copies: 1,
    blocks: 2,
    totalSteps: 2,
    saveEverySteps: 9,
    faults: 1,
    kinds: new Set(kinds),
    scales: [],
    isSmall: false,
    ...more,
  };
}

export const CONFIGS: readonly Searched[] = [
  config("2 members, nothing goes wrong", [], { faults: 0, isSmall: true }),
  config("2 members become 1", [], { copies: 2, faults: 0, scales: [1] }),
  config("2 members, a rank dies", ["rankDies"], { totalSteps: 1 }),
  config("2 members, no copies, a member dies", ["memberDies"], { method: "full" }),
  config("2 members, the control plane ends", ["crash"], { totalSteps: 1 }),
  config("2 members, a stream breaks or a message comes twice", ["reset", "resetLate", "twice"]),
  config("2 members, a join or a write fails, a wait ends early", ["join", "disk", "early"]),
  config("2 members, 2 faults", ["rankDies", "memberDies", "crash", "resetLate"], {
    faults: 2,
    saveEverySteps: 1,
  }),
  config("3 members, a rank dies", ["rankDies"], { members: 3, blocks: 3, totalSteps: 1 }),
  config("1 member becomes 2", [], { members: 1, faults: 0, scales: [2] }),
];

/** Of the simulator's mutants, those that a few thousand worlds of the search suffice for. */
const FOUND_BY_SEARCH: ReadonlySet<string> = new Set([
  "commit before all are ready",
  "end a leaver that sits in the new generation",
]);

export const MODEL_MUTANTS: readonly Mutant[] = MUTANTS.filter(({ name }) =>
  FOUND_BY_SEARCH.has(name),
);
