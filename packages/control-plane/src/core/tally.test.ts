import { describe, expect, it } from "vitest";
import type { JobState } from "./state.ts";
import { NOTHING_TALLIED, type Tallies, tallyDecision } from "./tally.ts";

type Part = Record<string, unknown>;
const seat = (member: string, pid: number, incarnation = 1) => ({ member, pid, incarnation });
const committed = (number: number, seats: Part[], source: Part = { kind: "fresh" }): Part => ({
  number,
  seats,
  source,
});
const BOTH = [seat("m0", 10), seat("m1", 11)];
const live = (bytes: number) => ({ kind: "live", transfer: { totalBytes: bytes } });

/** Only what tallies look at. */
function state(part: Part, more: Part = {}): JobState {
  const whole = { committed: committed(1, BOTH), fault: null, lastCommit: null, ...part };
  const saves = { save: null, decidedSaves: [] };
  const job = { phase: "active", effects: [], tallies: NOTHING_TALLIED, ...more };
  return { ...job, live: { ...saves, ...whole } } as unknown as JobState;
}

function tally(...story: readonly JobState[]): Tallies {
  let before = story[0] as JobState;
  for (const [at, after] of story.slice(1).entries())
    before = { ...after, tallies: tallyDecision(before, after, 1_000 * (at + 1)) };
  return before.tallies;
}

const fault = (cause: string) => ({ cause, sinceMs: 0, step: 3 });

describe("what happened to a job", () => {
  it.each([
    ["survivors", [seat("m0", 10)], live(7)],
    ["respawn", [seat("m0", 10), seat("m1", 12)], live(7)],
    ["pod", [seat("m0", 10), seat("m1", 12, 2)], live(7)],
    ["checkpoint", BOTH, { kind: "checkpoint" }],
  ] as const)("tells a recovery by %s", (kind, seats, source) => {
    const broken = { fault: fault("killed") };
    const next = { ...broken, committed: committed(2, [...seats], source) };
    const done = tally(state({}), state(broken), state(next), state({ ...next, fault: null }));
    expect(done.recoveries).toEqual({ [kind]: 1 });
    expect(done.interruptions).toEqual({ node: 1 });
    expect(done.movedBytes).toBe(source.kind === "live" ? 7 : 0);
  });

  it("counts an interruption once, by the cause that was found last, and no restart of ours", () => {
    const seen = tally(
      state({}),
      state({ fault: fault("communication") }),
      state({ fault: fault("hang") }),
      state({ fault: fault("hang") }, { phase: "failed" }),
    );
    expect(seen.interruptions).toEqual({ hang: 1 });
    const restarted = tally(state({}), state({ fault: fault("restart") }), state({}));
    expect(restarted.interruptions).toEqual({});
  });

  it("does not call a planned change a recovery", () => {
    const next = { committed: committed(2, [...BOTH, seat("m2", 12)], live(5)) };
    expect(tally(state({}), state(next))).toMatchObject({ recoveries: {}, movedBytes: 5 });
  });

  it("adds up what writers wrote and how long a save took", () => {
    const write = (id: string, bytes: number) => ({
      id,
      kind: "reportPrepared",
      key: { saveId: "s1" },
      prepared: { bytes },
    });
    const save = { step: 2, sinceMs: 1_000 };
    const first = [write("a", 100)];
    const seen = tally(
      state({}),
      state({ save }, { effects: first }),
      state({ save }, { effects: [...first, write("b", 50)] }),
      state({ lastCommit: { step: 2, commit: "c2" } }),
    );
    expect(seen).toMatchObject({ saves: 1, lastSave: { bytes: 150, seconds: 2 }, written: null });
  });

  it("counts failed saves by reason, not those left out on purpose", () => {
    const aborted = (why: string) => ({ status: "aborted", why });
    const one = [aborted("writer_lost")];
    const all = [...one, aborted("skipped"), aborted("something_new")];
    expect(
      tally(state({}), state({ decidedSaves: one }), state({ decidedSaves: all })),
    ).toMatchObject({ saveFailures: { writer_lost: 1, other: 1 } });
  });
});
