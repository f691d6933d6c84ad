/** From a seed to a schedule of faults. Pure: the same seed is the same schedule, for ever. */
import { createDraw, type Draw, mix } from "../sim/draw.ts";

export type Method = "lora" | "full";

/** Steps of a job; where members join it is long enough for them to load: a few seconds of tiny steps. */
const STEPS = {
  short: { lora: 160, full: 120 },
  long: { lora: 500, full: 400 },
} as const;

/** Moments that a journal entry or a staged file marks; delicate ones, because something is half done. */
export const MOMENTS = [
  /** A generation is prepared: its ranks connect and move blocks. */
  "preparing",
  /** A part of its members hold their blocks, the others still adopt theirs. */
  "adopting",
  /** A generation was committed: its ranks are about to run. */
  "committed",
  /** A member said hello: it loads. */
  "connected",
  /** A rank left its blocks of a save in memory. */
  "staged",
  /** A save has begun, its writers write. */
  "saving",
  /** A writer's files are on their way to the decision: inside the commit. */
  "deciding",
  /** A checkpoint was committed. */
  "saved",
  /** Ranks were asked to stop at a boundary, for a join or a leave. */
  "pausing",
  /** A fault was noticed: its recovery begins. */
  "recovering",
] as const;
export type Moment = (typeof MOMENTS)[number];

/** When a deed is due, counted from the deed before it. Steps that are passed already are due at once. */
export type When =
  | { readonly at: "step"; readonly step: number; readonly plusMs: number }
  | { readonly at: "ms"; readonly plusMs: number }
  | {
      readonly at: "moment";
      readonly moment: Moment;
      readonly skip: number;
      readonly plusMs: number;
    };

/** Whom it hits. `index` is taken modulo how many there are. */
export type Target =
  | { readonly kind: "rank"; readonly index: number }
  /** The agent alone; its ranks find out by themselves. */
  | { readonly kind: "agent"; readonly index: number }
  /** The agent and its ranks. */
  | { readonly kind: "member"; readonly index: number }
  | { readonly kind: "everyRank" }
  | { readonly kind: "everyMember" }
  | { readonly kind: "store" };

export type Deed = { readonly when: When } & (
  | { readonly what: "kill"; readonly targets: readonly Target[] }
  /** SIGTERM to an agent: it may hand over and leave, or just end. */
  | { readonly what: "terminate"; readonly targets: readonly Target[] }
  /** `shardctl scale`; refused while the control plane is away, like any call. */
  | { readonly what: "scale"; readonly members: number }
  /** SIGSTOP, and SIGCONT after `pauseMs`; later deeds do not wait for it. */
  | { readonly what: "stop"; readonly targets: readonly Target[]; readonly pauseMs: number }
  /** kill -9 of the control plane, `up` after `downMs`; `meanwhile` is killed in the middle of it. */
  | { readonly what: "restart"; readonly downMs: number; readonly meanwhile: readonly Target[] }
);

export interface Schedule {
  readonly seed: number;
  readonly method: Method;
  readonly members: number;
  readonly ranksPerMember: number;
  /** Never more than this many, however it is scaled. */
  readonly membersMax: number;
  readonly steps: number;
  readonly saveEverySteps: number;
  readonly deeds: readonly Deed[];
}

const RANKS_MAX = 6;
const DEEDS_MAX = 4;
/** Longer than the silence after which a rank counts as hung: it costs a minute, so only seeds from here on draw it. */
export const LONG_PAUSE_SEEDS_MIN = 1_000;
const LONG_PAUSE_MS = 45_000;

/** What deeds are drawn for. */
interface Stage {
  readonly draw: Draw;
  readonly steps: number;
  readonly membersMax: number;
  readonly allowsLongPauses: boolean;
}

export function scheduleOf(seed: number): Schedule {
  const draw = createDraw(mix(0xc4a05, seed));
  const method = draw.chance(0.5) ? "lora" : "full";
  const ranksPerMember = draw.chance(0.2) ? 2 : 1;
  const membersMax = RANKS_MAX / ranksPerMember;
  // Fewer are more usual: six processes on two cores are slow to load, and no other case for most rules.
  const members = Math.min(draw.int(1, membersMax), draw.int(1, membersMax));
  const scales = draw.chance(0.3);
  const steps = STEPS[scales ? "long" : "short"][method];
  const saveEverySteps = draw.pick([3, 7, 10, 25, 40]);
  const stage = { draw, steps, membersMax, allowsLongPauses: seed >= LONG_PAUSE_SEEDS_MIN };
  const deeds = Array.from({ length: draw.int(1, DEEDS_MAX) }, (_, index) => deedOf(stage, index));
  const all = scales ? [scaleOf(stage), ...deeds, scaleOf(stage)] : deeds;
  return {
    seed,
    method,
    members,
    ranksPerMember,
    membersMax,
    steps,
    saveEverySteps,
    deeds: inOrder(all),
  };
}

function scaleOf({ draw, steps, membersMax }: Stage): Deed {
  const when: When = { at: "step", step: draw.int(1, steps >> 1), plusMs: 0 };
  return { when, what: "scale", members: draw.int(1, membersMax) };
}

/** Steps go up; moments and waits stay between them where they were drawn. */
function inOrder(deeds: readonly Deed[]): readonly Deed[] {
  const steps = deeds
    .flatMap(({ when }) => (when.at === "step" ? [when.step] : []))
    .sort((a, b) => a - b);
  return deeds.map((deed): Deed => {
    if (deed.when.at !== "step") return deed;
    return { ...deed, when: { ...deed.when, step: steps.shift() ?? deed.when.step } };
  });
}

function deedOf(stage: Stage, index: number): Deed {
  const { draw } = stage;
  const when = whenOf(draw, stage.steps, index);
  const roll = draw.unit();
  if (roll < 0.2) {
    const meanwhile = draw.chance(0.4) ? targetsOf(draw) : [];
    return { when, what: "restart", downMs: draw.int(0, 3_000), meanwhile };
  }
  if (roll < 0.36) return { when, what: "stop", targets: targetsOf(draw), pauseMs: pauseOf(stage) };
  if (roll < 0.42)
    return { when, what: "terminate", targets: [{ kind: "agent", index: draw.int(0, 5) }] };
  return { when, what: "kill", targets: targetsOf(draw) };
}

function pauseOf({ draw, allowsLongPauses }: Stage): number {
  const shortMs = draw.int(200, 2_000);
  return allowsLongPauses && draw.chance(0.2) ? LONG_PAUSE_MS : shortMs;
}

function whenOf(draw: Draw, total: number, index: number): When {
  const roll = draw.unit();
  const plusMs = draw.chance(0.5) ? 0 : draw.int(0, 400);
  if (roll < 0.35) return { at: "step", step: draw.int(1, total - 2), plusMs };
  // Right after the last step: the final save is staged, written, decided.
  if (roll < 0.5) return { at: "step", step: total - draw.int(0, 2), plusMs };
  if (roll < 0.85 || index > 0)
    return { at: "moment", moment: draw.pick(MOMENTS), skip: draw.int(0, 2), plusMs };
  // Anywhere, also before anything is loaded.
  return { at: "ms", plusMs: draw.int(0, 15_000) };
}

function targetsOf(draw: Draw): readonly Target[] {
  const first = targetOf(draw);
  return draw.chance(0.25) ? [first, targetOf(draw)] : [first];
}

function targetOf(draw: Draw): Target {
  const roll = draw.unit();
  const index = draw.int(0, RANKS_MAX - 1);
  if (roll < 0.4) return { kind: "rank", index };
  if (roll < 0.55) return { kind: "agent", index };
  if (roll < 0.75) return { kind: "member", index };
  if (roll < 0.85) return { kind: "everyRank" };
  if (roll < 0.95) return { kind: "everyMember" };
  return { kind: "store" };
}

/** `1-8,17` → 1…8 and 17. Throws for anything else, naming it. */
export function seedsOf(text: string): readonly number[] {
  return text.split(",").flatMap((part) => {
    const found = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    const first = Number(found?.[1]);
    const last = Number(found?.[2] ?? first);
    if (found === null || last < first)
      throw new Error(`SHARDWRIGHT_CHAOS_SEEDS: "${part}" is no seed and no range like 1-8`);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
