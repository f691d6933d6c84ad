import { queuedStatus } from "@shardwright/job";
import { createLog } from "@shardwright/service";
import { beforeEach, describe, expect, it } from "vitest";
import { aDocument, aPlan, aSpec } from "../../../test/support/job-builder.ts";
import { openLedger } from "./core/ledger.ts";
import { POLICY_DEFAULT } from "./core/policy.ts";
import type { JobState } from "./core/state.ts";
import { NOTHING_TALLIED } from "./core/tally.ts";
import type { JobRecord } from "./ports.ts";
import { type ReconcileWorld, reconcile } from "./reconcile.ts";
import type { Journal } from "./store/journal.ts";
import { createMemoryJournal } from "./store/memory.ts";

const uid = "01J00000000000000000000000";
const reason = { code: "Placed", sentence: "placed" };
const placed = { kind: "placed", members: [{ name: "m0", node: "n0" }], reason } as const;

let store: Journal;
let acted: JobRecord[];
let world: ReconcileWorld;

beforeEach(async () => {
  store = createMemoryJournal(() => 1_000);
  acted = [];
  const state: JobState = {
    phase: "queued",
    uid,
    spec: aSpec(),
    submittedPlan: aPlan(),
    reason: { code: "Submitted", sentence: "waits" },
    effects: [],
    ledger: openLedger(0),
    tallies: NOTHING_TALLIED,
    sinceMs: 0,
  };
  const status = queuedStatus(state.reason, aPlan());
  await store.create(
    {
      uid,
      tenant: "default",
      name: "a",
      createdMs: 0,
      finishedMs: null,
      document: aDocument("a"),
      state,
      status,
    },
    [],
  );
  world = {
    store,
    now: () => 1_000,
    policy: POLICY_DEFAULT,
    log: createLog({ service: "test", version: "0", level: "silent" }),
    cache: new Map(),
    measures: { decided: () => undefined },
    act: (record) => acted.push(record),
  };
});

describe("reconcile", () => {
  it("saves the intention before it acts on it", async () => {
    const savedFirst: Promise<boolean>[] = [];
    const act = (record: JobRecord): void => {
      savedFirst.push(store.load(uid).then((saved) => saved === record));
      acted.push(record);
    };
    await reconcile(uid, [placed], { ...world, act });
    expect(await Promise.all(savedFirst)).toEqual([true]);
    expect(acted[0]?.state.effects.map(({ id }) => id)).toContain("launch:m0:1");
    expect((await store.load(uid))?.state.phase).toBe("active");
  });

  it("neither saves nor acts when nothing changes, and ignores a job that is gone", async () => {
    await reconcile(uid, [{ kind: "tick" }], world);
    await reconcile("nobody", [placed], world);
    expect(acted).toEqual([]);
    expect((await store.load(uid))?.revision).toBe(1);
  });

  it("decides again on what somebody newer saved", async () => {
    const stale = await store.load(uid);
    await reconcile(uid, [{ kind: "cancel" }], { ...world, cache: new Map() });
    if (stale !== null) world.cache.set(uid, stale);
    await reconcile(uid, [placed], world);
    expect((await store.load(uid))?.state.phase).toBe("cancelled");
    expect(acted).toHaveLength(1);
  });

  it("writes events that waited together once, and decides on each", async () => {
    const hello = { kind: "hello", pid: 7, loaded: false, runningGeneration: 0 } as const;
    const member = { member: "m0", incarnation: 1 };
    await reconcile(uid, [placed, { ...hello, ...member }, { kind: "cancel" }], world);
    const saved = await store.load(uid);
    expect(saved?.revision).toBe(2);
    expect(saved?.state.phase).toBe("cancelled");
    expect(acted).toHaveLength(1);
    const query = { tenant: "default", jobName: null, afterSequence: 0, limit: 10 };
    const codes = (await store.events(query)).map(({ reason: { code } }) => code);
    expect(codes).toEqual(["Placed", "MemberConnected", "Cancelled"]);
  });

  it("marks the end with its time", async () => {
    await reconcile(uid, [{ kind: "cancel" }], world);
    expect((await store.load(uid))?.finishedMs).toBe(1_000);
  });
});
