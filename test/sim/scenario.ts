/** What one seed stands for: a job, a cluster and how hostile it is. */
import { createDraw, mix } from "./draw.ts";
import type { JobShape } from "./exact.ts";

export type FaultKind =
  | "killRank"
  | "killInStep"
  | "lie"
  | "killAgent"
  | "flap"
  | "partition"
  | "crash"
  | "hang"
  | "store"
  | "disk"
  | "effects"
  | "poison"
  | "unheardCommit"
  | "scale"
  | "cancel";

export interface Scenario {
  readonly seed: number;
  readonly shape: JobShape;
  readonly members: number;
  readonly ranksPerMember: number;
  readonly membersMin: number | null;
  readonly method: "lora" | "full";
  readonly copies: number;
  readonly budget: number;
  readonly refundSteps: number;
  readonly stepMs: number;
  readonly loadMsMax: number;
  readonly exports: number;
  readonly faults: readonly { readonly atMs: number; readonly kind: FaultKind }[];
  /** Ends the control plane at this crash point; −1: at none. */
  readonly crashAtPoint: number;
}

const KINDS: readonly FaultKind[] = [
  "killRank",
  "killRank",
  "killInStep",
  "killInStep",
  "killInStep",
  "lie",
  "killAgent",
  "killAgent",
  "flap",
  "flap",
  "partition",
  "crash",
  "crash",
  "hang",
  "store",
  "disk",
  "effects",
  "unheardCommit",
  "scale",
  "scale",
];
const FAULTS_FROM_MS = 500;

export function scenarioOf(seed: number): Scenario {
  const draw = createDraw(seed);
  const members = draw.int(1, 4);
  const ranksPerMember = draw.int(1, 2);
  const totalSteps = draw.int(5, 16);
  const stepMs = draw.pick([60, 300, 900]);
  const spanMs = 3_000 + totalSteps * stepMs * 2;
  const faults = Array.from({ length: draw.int(0, 9) }, () => ({
    atMs: FAULTS_FROM_MS + draw.int(0, spanMs),
    kind: draw.pick(KINDS),
  }));
  if (draw.chance(0.06)) faults.push({ atMs: draw.int(100, spanMs), kind: "cancel" });
  if (draw.chance(0.03)) faults.push({ atMs: draw.int(2_000, spanMs), kind: "poison" });
  return {
    seed,
    shape: {
      lanes: draw.pick([2, 4, 8]),
      blocks: draw.int(1, 7),
      totalSteps,
      saveEverySteps: draw.int(2, 6),
      snapshotEverySteps: mix(0x5a9, seed) % 4,
    },
    members,
    ranksPerMember,
    membersMin: draw.chance(0.6) ? 1 : null,
    method: draw.chance(0.4) ? "lora" : "full",
    copies: draw.int(1, 2),
    budget: draw.chance(0.25) ? draw.int(0, 3) : 1_000,
    refundSteps: draw.int(3, 50),
    stepMs,
    loadMsMax: draw.pick([300, 3_000, 20_000]),
    exports: draw.int(0, 2),
    faults: faults.sort((a, b) => a.atMs - b.atMs),
    crashAtPoint: -1,
  };
}

/** Two members, two saves, one rank lost on the way: every kind of decision, nothing drawn. */
export function plainScenario(crashAtPoint: number): Scenario {
  return {
    seed: 1,
    shape: { lanes: 4, blocks: 3, totalSteps: 6, saveEverySteps: 2, snapshotEverySteps: 0 },
    members: 2,
    ranksPerMember: 1,
    membersMin: 1,
    method: "lora",
    copies: 1,
    budget: 1_000,
    refundSteps: 50,
    stepMs: 300,
    loadMsMax: 300,
    exports: 1,
    faults: [{ atMs: 2_500, kind: "killRank" }],
    crashAtPoint,
  };
}
