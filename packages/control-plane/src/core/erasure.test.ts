import { describe, expect, it } from "vitest";
import { after, queued, training } from "../../../../test/support/training-job.ts";
import { effectsDue, erasureOf } from "./erasure.ts";
import type { JobEvent } from "./events.ts";
import { decide } from "./lifecycle.ts";
import { POLICY_DEFAULT } from "./policy.ts";
import type { JobState } from "./state.ts";

const forget: JobEvent = { kind: "delete", checkpoints: false };
const forgetAll: JobEvent = { kind: "delete", checkpoints: true };
const settled = (effectId: string): JobEvent => ({
  kind: "settled",
  effectId,
  outcome: { kind: "done" },
});
const failed = (effectId: string, sentence: string): JobEvent => ({
  kind: "settled",
  effectId,
  outcome: { kind: "failed", reason: { code: "EffectFailed", sentence } },
});
const due = (state: JobState): readonly string[] => effectsDue(state).map(({ id }) => id);

/** The last step is checkpointed; one export is wanted. */
function finishing(): JobState {
  const state = training();
  if (state.phase !== "active") throw new Error("it trains");
  const spec = {
    ...state.spec,
    export: [{ format: "peft", merge: false, destination: null }] as const,
  };
  return {
    ...state,
    spec,
    phase: "finishing",
    commit: "c",
    hashes: null,
    exports: [null],
    effects: [
      { id: "release", kind: "release", why: "complete" },
      { id: "hash", kind: "hash", commit: "c" },
    ],
  };
}

describe("delete", () => {
  it("of a job that waits has nothing to wait for", () => {
    const state = after(queued(), forgetAll);
    expect(state.phase).toBe("cancelled");
    expect(due(state)).toEqual(["erase:1"]);
  });

  it("of a job that trains cancels it; what it left is erased after its members are gone", () => {
    const state = after(training(), forget);
    expect(state.phase).toBe("cancelled");
    expect(erasureOf(state)).toMatchObject({ checkpoints: false });
    expect(due(state)).toEqual(["release"]);
    expect(due(after(state, settled("release")))).toEqual(["erase:1"]);
  });

  it("of a job that is being finished waits for the end, whatever order it comes in", () => {
    const state = after(finishing(), forgetAll, settled("release"), {
      kind: "settled",
      effectId: "hash",
      outcome: { kind: "hashes", weightsSha256: "w", stateSha256: "s", consumedSha256: "c" },
    });
    expect(due(state)).toEqual(["export:0"]);
    const location = "file:///adapter";
    const ended = after(state, {
      kind: "settled",
      effectId: "export:0",
      outcome: { kind: "exported", location },
    });
    expect(ended.phase).toBe("complete");
    expect(due(ended)).toEqual(["erase:1"]);
    const broken = after(state, failed("export:0", "no space"));
    expect([broken.phase, ...due(broken)]).toEqual(["failed", "release"]);
    expect(due(after(broken, settled("release")))).toEqual(["erase:1"]);
  });

  it("asked again wants more, never less, and nothing twice", () => {
    const once = after(training(), forget);
    expect(after(once, forget)).toBe(once);
    const more = after(once, forgetAll);
    expect(erasureOf(more)?.checkpoints).toBe(true);
    expect(more.effects).toHaveLength(once.effects.length);
    expect(after(more, forget)).toBe(more);
  });

  it("that fails is tried on and on, and tells a reason once", () => {
    const wanted = after(queued(), forgetAll);
    const first = decide(wanted, failed("erase:1", "away"), 2_000, POLICY_DEFAULT);
    expect(first.told).toMatchObject([{ reason: { code: "DeletionDelayed", sentence: "away" } }]);
    expect(due(first.state)).toEqual(["erase:2"]);
    const second = decide(first.state, failed("erase:2", "away"), 3_000, POLICY_DEFAULT);
    expect(second.told).toEqual([]);
    expect(due(second.state)).toEqual(["erase:3"]);
    expect(erasureOf(second.state)?.checkpoints).toBe(true);
  });
});
