import { describe, expect, it } from "vitest";
import { after, progress, training } from "../../../../test/support/training-job.ts";
import { directivesFor } from "./directives.ts";
import type { JobEvent, MemberEvent } from "./events.ts";
import { decide } from "./lifecycle.ts";
import { POLICY_DEFAULT } from "./policy.ts";
import type { JobState } from "./state.ts";

const staged = (member: string, step: number, generation = 1): MemberEvent => ({
  kind: "staged",
  member,
  incarnation: 1,
  generation,
  step,
  trigger: step === 20 ? "final" : "periodic",
});
const begun = (step: number): JobEvent => ({
  kind: "settled",
  effectId: `begin:${step}:1`,
  outcome: {
    kind: "begun",
    begun: {
      key: { run: "u", step, generation: 1, try: 0, saveId: `s${step}` },
      directory: "d",
      schemaSha256: "",
      schemaJson: "",
      crcBlockBytes: 1,
    },
    commit: null,
  },
});
const ids = (state: JobState): string[] => state.effects.map(({ id }) => id);
const told = (state: JobState, member: string): string[] =>
  directivesFor(state, member).map(({ key }) => key);
const live = (state: JobState) => {
  if (state.phase !== "active") throw new Error(`the job is ${state.phase}`);
  return state.live;
};

describe("a save", () => {
  it("is in a job that trains", () => {
    expect(live(training()).committed).toMatchObject({ number: 1, mode: "running" });
  });

  it("begins once, with the first member that staged", () => {
    const state = after(training(), staged("m0", 10), staged("m1", 10), staged("m0", 10));
    expect(ids(state)).toEqual(["begin:10:1"]);
    expect(live(state).save?.staged).toEqual(["m0", "m1"]);
  });

  it("does not begin before the journal holds its steps", () => {
    const early = after(training(), staged("m0", 12), staged("m1", 12));
    expect(ids(early)).toEqual([]);
    expect(
      ids(after(early, { kind: "stepped", step: 11, facts: progress, laneTimes: [] })),
    ).toEqual([]);
    expect(
      ids(after(early, { kind: "stepped", step: 12, facts: progress, laneTimes: [] })),
    ).toEqual(["begin:12:1"]);
  });

  it("is written by those that staged it, and by nobody else", () => {
    const state = after(training(), staged("m0", 10), begun(10));
    expect(told(state, "m0")).toContain("persist:s10");
    expect(told(state, "m1")).not.toContain("persist:s10");
    expect(told(after(state, staged("m1", 10)), "m1")).toContain("persist:s10");
  });

  it("makes a later periodic one wait for its own time", () => {
    const state = after(training(), staged("m0", 10), staged("m1", 10), staged("m0", 12));
    expect(live(state).save?.step).toBe(10);
    expect(told(state, "m0")).toContain("decided:1:12");
  });

  it("hears nothing about another save's outcome, nor of another generation", () => {
    const state = after(training(), staged("m0", 10), staged("m1", 10), begun(10));
    const prepared = {
      writer: 0,
      incarnation: 0,
      manifestPath: "",
      manifestSha256: "",
      bytes: 1,
    };
    const other = { run: "u", step: 5, generation: 1, try: 0, saveId: "s5" };
    const late = after(state, {
      kind: "wrote",
      member: "m0",
      incarnation: 1,
      key: other,
      prepared,
    });
    expect(late).toEqual(state);
    expect(live(after(state, staged("m0", 15, 7))).save?.step).toBe(10);
  });

  it("ends with a member that is lost, and says so to the checkpoint-manager", () => {
    const state = after(training(), staged("m0", 10), staged("m1", 10), begun(10), {
      kind: "gone",
      member: "m1",
      incarnation: 1,
      cause: "node",
      sentence: "ended",
    });
    expect(live(state).save).toBeNull();
    expect(ids(state)).toContain("abort:s10");
    expect(told(state, "m0")).toContain("decided:1:10");
  });

  it("does not begin in a generation that is broken: not everybody comes to the end of its step", () => {
    const gone: JobEvent = {
      kind: "gone",
      member: "m1",
      incarnation: 1,
      cause: "node",
      sentence: "ended",
    };
    const state = after(training(), gone, staged("m0", 10));
    expect(live(state).save).toBeNull();
    expect(ids(state)).not.toContain("begin:10:1");
    // Its copy is given free.
    expect(told(state, "m0")).toContain("decided:1:10");
  });

  it("that is committed already is taken as it is, and not written", () => {
    const before = begun(10) as Extract<JobEvent, { kind: "settled" }>;
    const committed: JobEvent = {
      ...before,
      outcome: { ...before.outcome, commit: "c10" } as typeof before.outcome,
    };
    const state = after(training(), staged("m0", 10), staged("m1", 10), committed);
    expect(live(state)).toMatchObject({ save: null, lastCommit: { step: 10, commit: "c10" } });
    expect(told(state, "m0")).toContain("decided:1:10");
    expect(told(state, "m0")).not.toContain("persist:s10");
  });

  it("that was committed before its abort came is committed, and never in place of a newer one", () => {
    const answered = (commit: string | null): JobEvent => ({
      kind: "settled",
      effectId: "abort:s10",
      outcome: { kind: "abortAnswered", commit },
    });
    const failed: MemberEvent = {
      kind: "saveFailed",
      member: "m0",
      incarnation: 1,
      key: { run: "u", step: 10, generation: 1, try: 0, saveId: "s10" },
      writer: 0,
      reason: { code: "ENOSPC", sentence: "full" },
    };
    const state = after(training(), staged("m0", 10), staged("m1", 10), begun(10), failed);
    expect(live(after(state, answered(null))).lastCommit).toBeNull();
    expect(live(after(state, answered("c10"))).lastCommit).toMatchObject({ commit: "c10" });
    const codes = (event: JobEvent): string[] =>
      decide(state, event, 1_000, POLICY_DEFAULT).told.map(({ reason }) => reason.code);
    expect(codes(answered(null))).toEqual(["SaveAborted"]);
    expect(codes(answered("c10"))).toEqual(["CheckpointCommitted"]);
    const newer = { step: 15, commit: "c15", committedMs: 0 };
    const later: JobState = {
      ...state,
      phase: "active",
      live: { ...live(state), lastCommit: newer },
    } as JobState;
    expect(live(after(later, answered("c10"))).lastCommit).toEqual(newer);
  });

  it("whose abort nobody hears leaves the one in flight alone", () => {
    const state = after(training(), staged("m0", 10), begun(10), {
      kind: "saveFailed",
      member: "m0",
      incarnation: 1,
      key: { run: "u", step: 10, generation: 1, try: 0, saveId: "s10" },
      writer: 0,
      reason: { code: "ENOSPC", sentence: "full" },
    });
    const next = after(
      state,
      { kind: "stepped", step: 12, facts: progress, laneTimes: [] },
      staged("m0", 12),
      {
        kind: "settled",
        effectId: "abort:s10",
        outcome: { kind: "failed", reason: { code: "EffectFailed", sentence: "away" } },
      },
    );
    expect(live(next).save?.step).toBe(12);
    expect(live(next).spent.storage).toBe(1);
  });

  it("is given up when its deadline has passed", () => {
    const state = after(training(), staged("m0", 10), begun(10));
    const later = 1_000 + POLICY_DEFAULT.saveDeadlineMs + 1;
    const late = decide(state, { kind: "tick" }, later, POLICY_DEFAULT).state;
    expect(live(late).save).toBeNull();
    expect(ids(late)).toContain("abort:s10");
  });
});
