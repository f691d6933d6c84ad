import { seededChance } from "./seeded.ts";

/** What is killed: one rank process, or an agent with all its ranks. */
export type Prey = "rank" | "member";

/** One kill of a schedule. Who it hits is decided when it is due, among those that live then. */
export interface Kill {
  /** Due once the job has done this many steps. */
  readonly step: number;
  /** Then waits for this share of a step, so that kills fall anywhere inside one. */
  readonly stepShare: number;
  readonly prey: Prey;
  /** In [0, 1): which of the living ones. */
  readonly choice: number;
}

export interface ScheduleRequest {
  readonly seed: number;
  readonly kills: number;
  readonly totalSteps: number;
  readonly prey: Prey | "any";
}

/** Not before the first step: a kill while loading proves little. Not in the last two: it could come too late. */
const STEPS_SPARED_AT_END = 2;

/** Kills that a job of this length can have, one a step. */
export function killsMax(totalSteps: number): number {
  return Math.max(0, totalSteps - 1 - STEPS_SPARED_AT_END);
}

/**
 * Pure: when to kill what. One integer names the schedule: the same request gives the same kills everywhere. Steps
 * differ and ascend. Throws RangeError for more kills than `killsMax`.
 */
export function killSchedule(request: ScheduleRequest): readonly Kill[] {
  const { seed, kills, totalSteps, prey } = request;
  const room = killsMax(totalSteps);
  if (kills > room) throw new RangeError(`${kills} kills in ${totalSteps} steps, at most ${room}`);
  const chance = seededChance(seed);
  const steps = new Set<number>();
  while (steps.size < kills) steps.add(1 + Math.floor(chance() * room));
  return [...steps]
    .sort((a, b) => a - b)
    .map((step) => ({
      step,
      stepShare: chance(),
      prey: prey === "any" ? (chance() < 0.5 ? "rank" : "member") : prey,
      choice: chance(),
    }));
}

/** `step 5: rank, step 9: member`. */
export function scheduleLine(schedule: readonly Kill[]): string {
  return schedule.map(({ step, prey }) => `step ${step}: ${prey}`).join(", ");
}
