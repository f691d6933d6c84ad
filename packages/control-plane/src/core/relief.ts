/**
 * Straggler relief: a rank that computes its lanes measurably slower than others gets fewer of them. Who computes a
 * lane changes no bit (the sum has one order), so this is about time alone.
 */
import { assignLanes, type LaneRange, liveAccumulators, liveMax } from "@shardwright/planner";
import type { CommittedGeneration, Live } from "./state.ts";

/** What one rank's report says of its lanes. */
export interface LaneTime {
  readonly generation: number;
  readonly rank: number;
  /** Steps done, this one included. */
  readonly step: number;
  /** Seconds of forward and backward, waiting for nobody, per lane. */
  readonly secondsPerLane: number;
}

/** How fast the process of a rank computes. */
export interface Pace {
  readonly pid: number;
  readonly secondsPerLane: number;
  /** Reports it was made of, and when the first and the newest of them came. */
  readonly reports: number;
  readonly sinceMs: number;
  readonly atMs: number;
}

/** A change of lanes that is worth a generation. */
export interface Relief {
  readonly slowest: { readonly rank: number; readonly before: number; readonly after: number };
  /** Seconds of computing of a whole step, as its slowest rank needs them. */
  readonly before: number;
  readonly after: number;
}

/** The first steps of a generation allocate and warm up. */
const WARM_UP_STEPS = 2;
/**
 * A mean over about the last ten seconds, or five reports where steps are long: what a shared machine does to one rank
 * for a moment is no pace.
 */
const MEMORY_MS = 10_000;
const NEWEST_SHARE_MIN = 0.005;
const NEWEST_SHARE_MAX = 0.2;
/** Before that much was heard the mean still holds much of its first value. */
const REPORTS_MIN = 8;
/** Ranks of one machine differ by a tenth for no reason; who is this much slower is slow. */
const STRAGGLER_RATIO = 1.3;
/** Age of a generation before its lanes are changed on purpose: a machine that swings is not followed. */
const RELIEF_STEPS_MIN = 24;
const RELIEF_AGE_MS_MIN = 20_000;
const RELIEF_GAIN_MIN = 1.2;
/** Seconds that the rest of the job must gain: a change of generation takes up to one of everybody. */
const RELIEF_SECONDS_MIN = 10;
const DIGITS = 4;

/** The paces after these reports; those of processes that sit in no seat any more are forgotten. */
export function pacesAfter(
  paces: readonly Pace[],
  committed: CommittedGeneration,
  { times, now }: { readonly times: readonly LaneTime[]; readonly now: number },
): readonly Pace[] {
  const known = new Map(paces.map((pace) => [pace.pid, pace]));
  for (const { generation, rank, step, secondsPerLane } of times) {
    const pid = committed.seats[rank]?.pid;
    const isWarm = step > committed.step + WARM_UP_STEPS;
    if (generation !== committed.number || pid === undefined || !isWarm || secondsPerLane <= 0)
      continue;
    known.set(pid, paceAfter(known.get(pid), { pid, secondsPerLane, now }));
  }
  return committed.seats.flatMap(({ pid }) => known.get(pid) ?? []);
}

function paceAfter(
  before: Pace | undefined,
  { pid, secondsPerLane, now }: { pid: number; secondsPerLane: number; now: number },
): Pace {
  if (before === undefined) return { pid, secondsPerLane, reports: 1, sinceMs: now, atMs: now };
  const passed = (now - before.atMs) / MEMORY_MS;
  const share = Math.min(NEWEST_SHARE_MAX, Math.max(NEWEST_SHARE_MIN, passed));
  const mean = before.secondsPerLane + share * (secondsPerLane - before.secondsPerLane);
  return {
    ...before,
    secondsPerLane: Number(mean.toPrecision(DIGITS)),
    reports: before.reports + 1,
    atMs: now,
  };
}

/** Weights for `assignLanes`, by rank: 1, less for a process that is slow, by as much as it is slower than the others. */
export function laneWeights(pids: readonly number[], paces: readonly Pace[]): number[] {
  const known = secondsOf(pids, paces);
  const measured = known.filter((seconds) => seconds !== null).sort((a, b) => a - b);
  // The lower one of the middle two: of two ranks the faster one is what the other could be.
  const typical = measured[(measured.length - 1) >> 1] ?? 0;
  return known.map((seconds) =>
    measured.length > 1 && seconds !== null && seconds >= STRAGGLER_RATIO * typical
      ? typical / seconds
      : 1,
  );
}

/**
 * The lanes of ranks in these processes, in rank order. Sums of unequal ranges may need a buffer more; where a buffer is
 * as large as the model (full tuning, each rank sums its own lanes) the plan's memory holds: they stay even then.
 */
export function lanesFor(
  live: Live,
  method: string,
  pids: readonly number[],
): readonly LaneRange[] {
  const { plan, paces } = live;
  const { lanes } = plan.recipe;
  const paced = assignLanes(lanes, laneWeights(pids, paces));
  const isSmall = method !== "full" || plan.zeroStage === 2;
  const buffers = Math.max(...paced.map(({ begin, end }) => liveAccumulators(begin, end)));
  if (isSmall || buffers <= liveMax(lanes, pids.length)) return paced;
  return assignLanes(
    lanes,
    pids.map(() => 1),
  );
}

/** Whether other lanes for the ranks of the running generation would pay; also when who was slow no longer is. */
export function reliefOf(live: Live, method: string, now: number): Relief | null {
  const { committed, facts, paces, step } = live;
  if (committed === null || facts === null || step - committed.step < RELIEF_STEPS_MIN) return null;
  if (now - committed.committedMs < RELIEF_AGE_MS_MIN) return null;
  const pids = committed.seats.map(({ pid }) => pid);
  const seconds = secondsOf(pids, paces);
  if (!seconds.every((one) => one !== null)) return null;
  const lanes = lanesFor(live, method, pids);
  const [before, after] = [longest(committed.lanes, seconds), longest(lanes, seconds)];
  const stepsLeft = facts.totalSteps - step;
  const gained = (before.seconds - after.seconds) * stepsLeft;
  if (before.seconds < RELIEF_GAIN_MIN * after.seconds || gained < RELIEF_SECONDS_MIN) return null;
  const { rank } = before;
  return {
    slowest: { rank, before: sizeOf(committed.lanes[rank]), after: sizeOf(lanes[rank]) },
    before: before.seconds,
    after: after.seconds,
  };
}

function secondsOf(pids: readonly number[], paces: readonly Pace[]): (number | null)[] {
  const known = new Map(paces.map((pace) => [pace.pid, pace]));
  return pids.map((pid) => {
    const pace = known.get(pid);
    return pace !== undefined && isKnown(pace) ? pace.secondsPerLane : null;
  });
}

function isKnown({ reports, sinceMs, atMs }: Pace): boolean {
  return reports >= REPORTS_MIN && atMs - sinceMs >= MEMORY_MS;
}

function longest(
  lanes: readonly LaneRange[],
  secondsPerLane: readonly number[],
): { readonly rank: number; readonly seconds: number } {
  return lanes
    .map((range, rank) => ({ rank, seconds: sizeOf(range) * (secondsPerLane[rank] ?? 0) }))
    .reduce((a, b) => (b.seconds > a.seconds ? b : a));
}

function sizeOf(range: LaneRange | undefined): number {
  return range === undefined ? 0 : range.end - range.begin;
}
