import { describe, expect, it } from "vitest";
import { aPlan } from "../../../../test/support/job-builder.ts";
import { type Booking, bookDecision, type Ledger, openLedger, totalOf } from "./ledger.ts";
import type { JobState } from "./state.ts";

type Part = Record<string, unknown>;
const SEATS = [
  { member: "m0", incarnation: 1, pid: 10 },
  { member: "m1", incarnation: 1, pid: 11 },
];
const member = (name: string, more: Part = {}): Part => ({
  name,
  incarnation: 1,
  state: "loaded",
  ranks: [{ localRank: 0, pid: name === "m0" ? 10 : 11, state: "busy" }],
  ...more,
});
const running = (more: Part = {}): Part => ({
  number: 1,
  step: 0,
  mode: "running",
  seats: SEATS,
  finished: [],
  source: { kind: "fresh" },
  ...more,
});

/** Only what the ledger looks at. */
function state(live: Part, more: Part = {}): JobState {
  const whole = {
    plan: aPlan(),
    members: [member("m0"), member("m1")],
    committed: null,
    prepared: null,
    step: 0,
    progress: null,
    fault: null,
    save: null,
    nextSave: null,
    lastCommit: null,
    ...live,
  };
  return { phase: "active", effects: [], live: whole, ...more } as unknown as JobState;
}

/** The totals after these states, each entered at its second. */
function book(...story: readonly (readonly [number, JobState, "parked"?])[]): Ledger {
  let before = { phase: "queued", effects: [], ledger: openLedger(0) } as unknown as JobState;
  for (const [second, after, parked] of story) {
    const booking: Booking = { before, after, now: second * 1000, isParked: parked === "parked" };
    before = { ...after, ledger: bookDecision(booking) };
  }
  return before.ledger;
}

const start = [1, state({})] as const;
const run = (more: Part = {}) => state({ committed: running(), ...more });

describe("the ledger", () => {
  it("waits for the gang, starts, trains, and settles what a checkpoint covers", () => {
    const launching = [member("m0"), member("m1", { state: "launching", ranks: [] })];
    const save = { step: 2 };
    const ledger = book(
      [0, state({ members: launching })],
      start,
      [2, run()],
      [5, run({ step: 2, save })],
      [6, run({ step: 3, save })],
      [7, run({ step: 3, lastCommit: { step: 2, commit: "c2" } })],
    );
    const total = totalOf(ledger);
    expect(total.totals).toEqual({ queued_held: 1_000, starting: 3_000, productive: 6_000 });
    expect([total.unsettled, total.partial, total.held]).toEqual([2_000, 2_000, 14_000]);
  });

  it("takes the time of a save that blocked the ranks out of training", () => {
    const progress = { measured: { stallSeconds: 0.25 } };
    const total = totalOf(book(start, [2, run()], [5, run({ step: 1, progress })]));
    expect(total.totals).toEqual({ starting: 2_000, checkpoint_stall: 500 });
    expect(total.unsettled).toBe(5_500);
  });

  it("calls the interrupted step redone when the next generation starts before it, kept when after", () => {
    const fault = { cause: "killed", sinceMs: 5_000, step: 1 };
    const broken = state({ committed: running({ mode: "broken" }), step: 1, fault });
    const story = (step: number) =>
      totalOf(
        book(
          start,
          [2, run()],
          [4, run({ step: 1 })],
          [5, broken],
          [6, state({ committed: running({ number: 2, step }), step: 1, fault })],
        ),
      );
    expect(story(1)).toMatchObject({ totals: { redone: 2_000, resharding: 2_000 } });
    expect(story(2).totals).toEqual({ starting: 2_000, resharding: 2_000 });
    expect(story(2).unsettled).toBe(6_000);
  });

  it("calls what lies after the checkpoint redone, in proportion where not all is lost", () => {
    const lastCommit = { step: 2, commit: "c2" };
    const story = (step: number) =>
      totalOf(
        book(
          start,
          [2, run({ save: { step: 2 }, step: 2 })],
          [3, run({ step: 2, lastCommit })],
          [11, run({ step: 6, lastCommit })],
          [12, state({ committed: running({ number: 2, step }), step: 6, lastCommit })],
        ),
      );
    // 2 ranks × 9 s since the checkpoint, and a second of the step that was lost.
    expect(story(2)).toMatchObject({ totals: { redone: 20_000 }, unsettled: 0 });
    expect(story(4)).toMatchObject({ totals: { redone: 11_000 }, unsettled: 9_000 });
  });

  it("calls the time that finding a hang took hung", () => {
    const fault = { cause: "hang", sinceMs: 9_000, step: 1 };
    const broken = state({ committed: running({ mode: "broken" }), step: 1, fault });
    const total = totalOf(book(start, [2, run()], [4, run({ step: 1 })], [9, broken]));
    expect(total.totals).toEqual({ starting: 2_000, hung: 10_000 });
  });

  it("books a restore and the wait for the last checkpoint as stalls", () => {
    const restoring = state({
      committed: running({ mode: "broken" }),
      prepared: { source: { kind: "checkpoint" } },
    });
    const done = run({ committed: running({ finished: ["m0", "m1"] }) });
    const total = totalOf(book(start, [2, restoring], [3, done], [5, done]));
    expect(total.totals).toEqual({ starting: 2_000, checkpoint_stall: 6_000 });
  });

  it("holds nothing while the members are stopped with the control plane", () => {
    const total = totalOf(book(start, [2, run()], [3, run(), "parked"], [90, run()], [91, run()]));
    expect(total.held).toBe(6_000);
  });

  it("closes a member that leaves, and the job at its release: what failed came to nothing", () => {
    const left = { committed: running(), members: [member("m0")] };
    const alone = run(left);
    const failed = state(left, { phase: "failed", effects: [{ kind: "release" }] });
    const released = state(left, { phase: "failed" });
    const ledger = book(start, [2, run()], [4, alone], [5, failed], [6, released]);
    expect(ledger.open).toEqual([]);
    expect(totalOf(ledger)).toMatchObject({
      held: 8_000,
      totals: { starting: 2_000, redone: 5_000, idle: 1_000 },
      unsettled: 0,
      partial: 0,
    });
  });

  it("never books negative time when a clock steps back", () => {
    const total = totalOf(book(start, [0, run()], [3, run()]));
    expect(total.held).toBe(4_000);
  });
});
