import { assignLanes } from "@shardwright/planner";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { after, progress, training } from "../../../../test/support/training-job.ts";
import type { JobEvent } from "./events.ts";
import { decide } from "./lifecycle.ts";
import { POLICY_DEFAULT } from "./policy.ts";
import { type LaneTime, lanesFor, laneWeights, type Pace, pacesAfter } from "./relief.ts";
import type { JobState, Live } from "./state.ts";

const liveOf = (state: JobState): Live => {
  if (state.phase !== "active") throw new Error(`the job is ${state.phase}`);
  return state.live;
};
const pace = (pid: number, secondsPerLane: number, reports = 50): Pace => ({
  pid,
  secondsPerLane,
  reports,
  sinceMs: 0,
  atMs: 1_000 * reports,
});
const sizes = (state: JobState): number[] =>
  (liveOf(state).prepared ?? liveOf(state).committed)?.lanes.map(({ begin, end }) => end - begin) ??
  [];

/** The same job with a million steps to go, so that every gain is worth it. */
function long(): JobState {
  const state = training();
  const live = liveOf(state);
  if (live.facts === null) throw new Error("nothing is loaded");
  return {
    ...state,
    live: { ...live, facts: { ...live.facts, totalSteps: 1_000_000 } },
  } as JobState;
}

/** Every rank's time a lane in one step of generation 1. */
function stepped(step: number, ...secondsPerLane: readonly number[]): JobEvent {
  const laneTimes = secondsPerLane.map(
    (seconds, rank): LaneTime => ({ generation: 1, rank, step, secondsPerLane: seconds }),
  );
  return { kind: "stepped", step, facts: progress, laneTimes };
}

function steps(from: number, count: number, ...secondsPerLane: readonly number[]): JobEvent[] {
  return Array.from({ length: count }, (_, index) => stepped(from + index, ...secondsPerLane));
}

/** The state after these events, a second apart. */
function over(state: JobState, ...events: readonly JobEvent[]): JobState {
  return events.reduce(
    (one, event, second) => decide(one, event, 1_000 * (second + 2), POLICY_DEFAULT).state,
    state,
  );
}

const interrupted = (member: string, rank: number, version: number): JobEvent => ({
  kind: "interrupted",
  member,
  incarnation: 1,
  generation: 1,
  ranks: [
    { localRank: 0, pid: 11 + rank, holding: { generation: 1, rank, version, pending: false } },
  ],
});
const store: JobEvent = {
  kind: "settled",
  effectId: "store:2",
  outcome: { kind: "store", host: "h", port: 1 },
};

describe("the pace of a rank", () => {
  it("is a mean that follows it, without the first steps, other generations and steps without lanes", () => {
    const { committed } = liveOf(training());
    if (committed === null) throw new Error("no generation runs");
    const time = (step: number, secondsPerLane: number, generation = 1): LaneTime => ({
      generation,
      rank: 1,
      step,
      secondsPerLane,
    });
    const of = (...times: readonly LaneTime[]): readonly Pace[] =>
      times.reduce<readonly Pace[]>(
        (paces, one) => pacesAfter(paces, committed, { times: [one], now: 1_000 * one.step }),
        [],
      );
    expect(of(time(1, 9), time(2, 9))).toEqual([]);
    expect(of(time(3, 9, 2), time(4, 0))).toEqual([]);
    const mean = { pid: 12, secondsPerLane: 1.1, reports: 2, sinceMs: 3_000, atMs: 4_000 };
    expect(of(time(3, 1), time(4, 2))).toEqual([mean]);
    // Long steps count for a fifth each, however long they are.
    expect(of(time(3, 1), time(50, 2))[0]?.secondsPerLane).toBeCloseTo(1.2);
    // Of a process that is gone nothing is kept.
    expect(pacesAfter([pace(99, 1)], committed, { times: [], now: 0 })).toEqual([]);
  });
});

describe("the weights of lanes", () => {
  it("are even while nobody is a straggler, or few were measured", () => {
    expect(laneWeights([1, 2, 3], [pace(1, 1), pace(2, 1.2), pace(3, 1.1)])).toEqual([1, 1, 1]);
    expect(laneWeights([1, 2], [pace(1, 1), pace(2, 9, 3)])).toEqual([1, 1]);
    expect(laneWeights([1, 2], [pace(2, 9)])).toEqual([1, 1]);
  });

  it("say how much slower a straggler is", () => {
    expect(laneWeights([1, 2, 3], [pace(1, 1), pace(2, 4), pace(3, 1)])).toEqual([1, 0.25, 1]);
    // A newcomer counts as one of the others.
    expect(laneWeights([1, 2, 7], [pace(1, 2), pace(2, 4)])).toEqual([1, 0.5, 1]);
  });

  it("never give a slower rank more lanes than a faster one beside rounding, nor make a step longer", () => {
    const seconds = fc.array(fc.double({ min: 0.01, max: 10, noNaN: true }), {
      minLength: 2,
      maxLength: 12,
    });
    fc.assert(
      fc.property(seconds, fc.integer({ min: 12, max: 64 }), (all, lanes) => {
        const pids = all.map((_, index) => index);
        const weights = laneWeights(
          pids,
          all.map((one, index) => pace(index, one)),
        );
        const found = assignLanes(lanes, weights).map(({ begin, end }) => end - begin);
        expect(found.reduce((a, b) => a + b)).toBe(lanes);
        const slowest = all.indexOf(Math.max(...all));
        expect(found[slowest]).toBeLessThanOrEqual(Math.ceil(lanes / all.length));
      }),
    );
  });
});

describe("the lanes of ranks", () => {
  it("stay even where an uneven share wants a buffer more than planned, as large as the model", () => {
    const paces = [pace(1, 9), pace(2, 1), pace(3, 1), pace(4, 1)];
    const live = { ...liveOf(training()), paces };
    const of = (method: string, zeroStage: 0 | 1 | 2): number[] =>
      lanesFor({ ...live, plan: { ...live.plan, zeroStage } }, method, [1, 2, 3, 4]).map(
        ({ begin, end }) => end - begin,
      );
    expect(live.plan.recipe.lanes).toBe(8);
    expect(of("lora", 1)).toEqual([1, 2, 3, 2]);
    expect(of("full", 1)).toEqual([2, 2, 2, 2]);
    expect(of("full", 2)).toEqual([1, 2, 3, 2]);
  });
});

describe("the lanes of ranks by their paces", () => {
  it("never make a step longer than even ones, though lanes are whole", () => {
    const seconds = fc.array(fc.double({ min: 1, max: 5, noNaN: true }), {
      minLength: 2,
      maxLength: 8,
    });
    const live = liveOf(training());
    fc.assert(
      fc.property(seconds, (all) => {
        const pids = all.map((_, index) => index);
        const paces = all.map((one, index) => pace(index, one));
        const longest = (weights: readonly number[], known: readonly Pace[]): number =>
          Math.max(
            ...lanesFor({ ...live, paces: known }, "lora", pids).map(
              ({ begin, end }, rank) => (end - begin) / (weights[rank] ?? 1),
            ),
          );
        // As the rule sees them: who is no straggler is as fast as the others.
        const weights = laneWeights(pids, paces);
        expect(longest(weights, paces)).toBeLessThanOrEqual(longest(weights, []));
      }),
    );
  });
});

describe("a rank that is slow", () => {
  it("gets fewer lanes by a generation that is made for it, from the same step", () => {
    const before = sizes(training());
    const slow = over(long(), ...steps(11, 40, 0.1, 0.5));
    expect(liveOf(slow).committed?.mode).toBe("pausing");
    const formed = after(slow, interrupted("m0", 0, 50), interrupted("m1", 1, 50), store);
    const { prepared } = liveOf(formed);
    expect(prepared).toMatchObject({ number: 2, step: 50, reason: { code: "LanesMoved" } });
    expect(sizes(formed)[1]).toBeLessThan(before[1] ?? 0);
    expect(sizes(formed).reduce((a, b) => a + b)).toBe(before.reduce((a, b) => a + b));
    // No block moves for it.
    const { source } = prepared ?? { source: null };
    expect(source?.kind === "live" && source.transfer.totalBytes).toBe(0);
  });

  it("is told, once, with who it is and what it is worth", () => {
    const almost = over(long(), ...steps(11, 13, 0.1, 0.5));
    const told = decide(almost, stepped(24, 0.1, 0.5), 21_000, POLICY_DEFAULT).told;
    expect(told.map(({ reason }) => reason.code)).toEqual(["Straggler"]);
    expect(told[0]?.reason.sentence).toMatch(/^rank 1 of member m1 is slow: it gets \d of its \d/);
    const paused = decide(almost, stepped(24, 0.1, 0.5), 21_000, POLICY_DEFAULT).state;
    expect(decide(paused, stepped(25, 0.1, 0.5), 22_000, POLICY_DEFAULT).told).toEqual([]);
    // A generation that has just begun is left alone.
    expect(decide(almost, stepped(24, 0.1, 0.5), 20_999, POLICY_DEFAULT).told).toEqual([]);
  });

  it("is left alone near the end, early in a generation, and while it is not known to be slow", () => {
    const mode = (state: JobState) => liveOf(state).committed?.mode;
    expect(mode(over(training(), ...steps(11, 8, 0.1, 0.5)))).toBe("running");
    expect(mode(over(long(), ...steps(11, 12, 0.1, 0.5)))).toBe("running");
    expect(mode(over(long(), ...steps(11, 60, 0.1, 0.12)))).toBe("running");
    expect(mode(over(long(), ...steps(11, 60, 0.1)))).toBe("running");
    // A rank that was slow for a moment: a machine that is shared.
    const moment = [...steps(11, 30, 0.1, 0.1), stepped(41, 0.1, 0.2), ...steps(42, 30, 0.1, 0.1)];
    expect(mode(over(long(), ...moment))).toBe("running");
  });
});
