import type { BlockMap } from "@shardwright/planner";
import { expect, it } from "vitest";
import { after, facts, training } from "../../../../test/support/training-job.ts";
import { directivesFor } from "./directives.ts";
import type { JobEvent, MemberEvent } from "./events.ts";
import { NOTHING_SPENT } from "./failure.ts";
import { decide } from "./lifecycle.ts";
import { POLICY_DEFAULT } from "./policy.ts";
import type { JobState, Live } from "./state.ts";

const liveOf = (state: JobState): Live => {
  if (!("live" in state) || state.live === null) throw new Error("not active");
  return state.live;
};
const told = (state: JobState, member: string): string[] =>
  directivesFor(state, member).map(({ key }) => key);
const leaving = (member: string, incarnation = 1): MemberEvent => ({
  kind: "leaving",
  member,
  incarnation,
  why: "SIGTERM",
});
const interrupted = (member: string, rank: number): MemberEvent => ({
  kind: "interrupted",
  member,
  incarnation: 1,
  generation: 1,
  ranks: [
    {
      localRank: 0,
      pid: 11 + rank,
      holding: { generation: 1, rank, version: 10, pending: false },
    },
  ],
});
const store: JobEvent = {
  kind: "settled",
  effectId: "store:2",
  outcome: { kind: "store", host: "h", port: 1 },
};

/** m1 gave notice and everybody stands at the boundary of step 10. */
function atBoundary(state: JobState): JobState {
  return after(state, leaving("m1"), interrupted("m0", 0), interrupted("m1", 1), store);
}

/** The same job with one copy of each block, or with both ranks holding all. */
function withCopies(state: JobState, copies: 1 | 2): JobState {
  if (state.phase !== "active" || state.live.committed === null) throw new Error("not training");
  const { committed, plan } = state.live;
  const runs = committed.blockMap.runs.map((run) => {
    const owner = run.holders[0] ?? 0;
    return { ...run, holders: copies === 1 ? [owner] : [owner, 1 - owner] };
  });
  const blockMap = { ...committed.blockMap, runs };
  const live = {
    ...state.live,
    plan: { ...plan, copies },
    committed: { ...committed, blockMap },
  };
  return { ...state, live };
}

/** Blocks that only m1's rank owns, in the map it trains with. */
function ownedByLeaver(state: JobState): number {
  const { blockMap } = liveOf(state).committed ?? { blockMap: { runs: [] } };
  return blockMap.runs.reduce((sum, run) => sum + (run.holders[0] === 1 ? run.blocks : 0), 0);
}

/** Blocks of the map whose holders are like this; a leaver's rank is not among them. */
function held({ runs }: BlockMap, isOf: (holders: readonly number[]) => boolean): number {
  return runs.reduce((sum, run) => sum + (isOf(run.holders) ? run.blocks : 0), 0);
}

function ready(state: JobState, member: string): JobEvent {
  const { prepared } = liveOf(state);
  if (prepared === null) throw new Error("nothing is prepared");
  const moves = prepared.source.kind === "live" ? prepared.source.transfer.moves : [];
  const bytes = (of: "sourceRank" | "targetRank", rank: number): number =>
    moves.reduce((sum, move) => (move[of] === rank ? sum + move.bytes : sum), 0);
  const evidence = [...prepared.seats, ...prepared.leavers]
    .filter((seat) => seat.member === member)
    .map(({ rank }) => ({
      rank,
      ownedBlocks: held(prepared.blockMap, (holders) => holders[0] === rank),
      replicaBlocks: held(prepared.blockMap, (holders) => holders.indexOf(rank) > 0),
      version: prepared.step,
      sentBytes: bytes("sourceRank", rank),
      receivedBytes: bytes("targetRank", rank),
    }));
  const { number: generation } = prepared;
  return { kind: "ready", member, incarnation: 1, generation, evidence, seconds: 0 };
}

it("pauses for a member that gives notice, and goes on without it where copies are left", () => {
  const paused = after(training(), leaving("m1"));
  expect(liveOf(paused).committed?.mode).toBe("pausing");
  const { prepared } = liveOf(atBoundary(withCopies(training(), 2)));
  expect(prepared?.seats.map(({ member }) => member)).toEqual(["m0"]);
  expect(prepared?.leavers).toEqual([]);
  expect(prepared?.source).toMatchObject({ kind: "live", targetVersion: 10 });
});

it("lets the leaver give away what only it holds, then releases it and starts another", () => {
  const before = withCopies(training(), 1);
  expect(ownedByLeaver(before)).toBeGreaterThan(0);
  const state = atBoundary(before);
  const { prepared } = liveOf(state);
  expect(prepared?.leavers).toMatchObject([{ rank: 1, member: "m1" }]);
  const transfer = prepared?.source.kind === "live" ? prepared.source.transfer : null;
  expect(transfer?.moves.every((move) => move.sourceRank === 1 && move.targetRank === 0)).toBe(
    true,
  );
  expect(transfer?.moves.reduce((sum, { blocks }) => sum + blocks, 0)).toBe(ownedByLeaver(before));
  expect(told(state, "m1")).toContain("prepare:2");
  // Not before both are ready: until then the leaver's copy is the only one.
  const half = after(state, ready(state, "m0"));
  expect(liveOf(half).prepared?.number).toBe(2);
  const done = after(half, ready(half, "m1"));
  expect(liveOf(done).committed).toMatchObject({ number: 2, step: 10, leavers: [] });
  expect(liveOf(done).members[1]).toMatchObject({ name: "m1", incarnation: 2, state: "launching" });
  expect(done.effects.map(({ id }) => id)).toEqual(
    expect.arrayContaining(["stop:m1:1", "launch:m1:2"]),
  );
});

it("gives up a save that not everybody had staged when the next generation takes over", () => {
  // m2 joins: nobody is lost, so nothing but the new generation says that m1 will not stage.
  const wanted = ["m0", "m1", "m2"].map((name) => ({ name, node: "n" }));
  const joins: readonly JobEvent[] = [
    { kind: "scale", members: wanted },
    { kind: "hello", member: "m2", incarnation: 1, pid: 3, loaded: false, runningGeneration: 0 },
    {
      kind: "loaded",
      member: "m2",
      incarnation: 1,
      facts,
      ranks: [{ localRank: 0, pid: 13, holding: null }],
    },
  ];
  const begins: MemberEvent = {
    kind: "staged",
    member: "m0",
    incarnation: 1,
    generation: 1,
    step: 10,
    trigger: "final",
  };
  const paused = after(training(), ...joins, begins);
  expect(liveOf(paused).committed?.mode).toBe("pausing");
  expect(liveOf(paused).save?.step).toBe(10);
  const formed = after(paused, interrupted("m0", 0), interrupted("m1", 1), store);
  const state = after(formed, ...wanted.map(({ name }) => ready(formed, name)));
  expect(liveOf(state).committed?.number).toBe(2);
  expect(liveOf(state).save).toBeNull();
  expect(told(state, "m0")).toContain("decided:1:10");
});

it("keeps a member that gives notice while a generation is made with it, until the next one", () => {
  // m0 leaves; m1 gives notice too, when it sits in the generation that is being made without m0.
  const state = after(
    withCopies(training(), 2),
    leaving("m0"),
    interrupted("m0", 0),
    interrupted("m1", 1),
    store,
    leaving("m1"),
  );
  const committed = after(state, ready(state, "m1"));
  expect(liveOf(committed).committed?.seats.map(({ member }) => member)).toEqual(["m1"]);
  expect(liveOf(committed).members[1]).toMatchObject({ name: "m1", incarnation: 1, leaving: true });
  expect(liveOf(committed).members[0]).toMatchObject({ name: "m0", incarnation: 2 });
  expect(committed.effects.map(({ id }) => id)).not.toContain("stop:m1:1");
});

it("books no fault for a notice, nor for a leaver that dies before it is released", () => {
  const state = after(atBoundary(withCopies(training(), 1)), {
    kind: "gone",
    member: "m1",
    incarnation: 1,
    cause: "node",
    sentence: "it ended",
  });
  expect(liveOf(state).spent).toEqual(NOTHING_SPENT);
  expect(liveOf(state).prepared).toBeNull();
  expect(liveOf(state).members[1]).toMatchObject({ name: "m1", incarnation: 2 });
});

it("trains on while nobody stays who could take over", () => {
  const state = training();
  if (state.phase !== "active") throw new Error("not active");
  const leavers = state.live.members.map((one) => ({ ...one, leaving: true, returns: true }));
  const all = { ...state, live: { ...state.live, members: leavers } };
  expect(liveOf(after(all, { kind: "tick" })).committed?.mode).toBe("running");
});

it("drops notice that comes again, or from an incarnation that was replaced", () => {
  const once = after(training(), leaving("m1"));
  expect(liveOf(after(once, leaving("m1"))).members).toEqual(liveOf(once).members);
  expect(decide(once, leaving("m1"), 1_000, POLICY_DEFAULT).told).toEqual([]);
  expect(liveOf(after(training(), leaving("m1", 7))).members[1]?.leaving).toBe(false);
});
