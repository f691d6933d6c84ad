import { describe, expect, it } from "vitest";
import { HANG_MS_DEFAULT, hangAfterMs, judgeSilence } from "./liveness.ts";
import { POLICY_DEFAULT } from "./policy.ts";
import type { MemberState } from "./state.ts";

const policy = { ...POLICY_DEFAULT, silenceMs: 10_000, launchMs: 60_000 };

function member(more: Partial<MemberState> = {}): MemberState {
  return {
    name: "m0",
    slot: 0,
    node: "n0",
    incarnation: 1,
    state: "loaded",
    pid: 1,
    silentSinceMs: null,
    ranks: [],
    snapshots: [],
    launchedMs: 0,
    doing: "",
    leaving: false,
    returns: false,
    ...more,
  };
}

describe("judgeSilence", () => {
  it.each([
    ["a member that is heard", member(), true, 1e9, "heard"],
    ["silence that nobody waits for", member({ silentSinceMs: 0 }), false, 1e9, "unknown"],
    ["a short silence", member({ silentSinceMs: 0 }), true, 10_000, "unknown"],
    ["a long silence", member({ silentSinceMs: 0 }), true, 10_001, "lost"],
    ["a launch in time", member({ state: "launching" }), false, 60_000, "heard"],
    ["a launch that is late", member({ state: "launching" }), false, 60_001, "lost"],
    ["loading that is late, though heard", member({ state: "loading" }), false, 60_001, "lost"],
  ] as const)("%s", (...row) => {
    const [, who, waitedFor, now, verdict] = row;
    expect(judgeSilence(who, waitedFor, now, policy).verdict).toBe(verdict);
  });
});

describe("hangAfterMs", () => {
  it("is five steps, and never so short that a slow write looks like a hang", () => {
    expect(hangAfterMs(HANG_MS_DEFAULT, 0.1)).toBe(HANG_MS_DEFAULT);
    expect(hangAfterMs(HANG_MS_DEFAULT, 60)).toBe(300_000);
  });
});
