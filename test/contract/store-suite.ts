// One suite for every adapter of the journal: memory, SQLite, PostgreSQL.
import { type JobDocument, makeJobUid, queuedStatus } from "@shardwright/job";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLedger } from "../../packages/control-plane/src/core/ledger.ts";
import type { GenerationRow, JobState } from "../../packages/control-plane/src/core/state.ts";
import { NOTHING_TALLIED } from "../../packages/control-plane/src/core/tally.ts";
import type {
  EventDraft,
  JobChange,
  JobRecord,
  LaneRow,
} from "../../packages/control-plane/src/ports.ts";
import { ANSWER_KEPT_MS, type Journal } from "../../packages/control-plane/src/store/journal.ts";
import { aDocument, aPlan, aSpec } from "../support/job-builder.ts";
import { training } from "../support/training-job.ts";

export interface JournalUnderTest {
  /** An empty journal on the first call of a test; after `close`, the same one again where it is durable. */
  open(now: () => number): Promise<Journal>;
  /** Removes what the test left. */
  clean(): Promise<void>;
  readonly isDurable: boolean;
}

const REASON = { code: "Submitted", sentence: "waits for the scheduler" };

function aState(uid: string, phase: "queued" | "cancelled" = "queued"): JobState {
  const base = {
    uid,
    spec: aSpec(),
    submittedPlan: aPlan(),
    reason: REASON,
    effects: [],
    ledger: openLedger(0),
    tallies: NOTHING_TALLIED,
    sinceMs: 1,
  };
  return phase === "queued" ? { ...base, phase } : { ...base, phase, live: null };
}

export function newJob(
  name: string,
  more: { tenant?: string; createdMs?: number; uid?: string; document?: JobDocument } = {},
): Omit<JobRecord, "revision" | "sequence"> {
  const createdMs = more.createdMs ?? 1_000;
  const uid = more.uid ?? uidOf(`${more.tenant ?? "default"}/${name}`, createdMs);
  return {
    uid,
    tenant: more.tenant ?? "default",
    name,
    createdMs,
    finishedMs: null,
    document: more.document ?? aDocument(name),
    state: aState(uid),
    status: queuedStatus(REASON, aPlan()),
  };
}

function uidOf(text: string, createdMs: number): string {
  const random = new Uint8Array(10);
  [...text].forEach((character, i) => {
    random[i % 10] = ((random[i % 10] ?? 0) * 31 + character.charCodeAt(0)) % 256;
  });
  return makeJobUid(createdMs, random);
}

const anEvent = (sentence: string): EventDraft => ({
  timeMs: 5,
  reason: { code: "Told", sentence },
  generation: 1,
  step: 2,
  severity: "normal",
});

const aGeneration = (generation: number): GenerationRow => ({
  generation,
  step: 3,
  reason: REASON,
  worldSize: 2,
  movedBytes: 10,
  seconds: 0.25,
  source: "fresh",
  committedMs: 7,
});

function change(record: JobRecord, more: Partial<JobChange> = {}): JobChange {
  return {
    uid: record.uid,
    expect: record.revision,
    state: record.state,
    status: record.status,
    finishedMs: null,
    events: [],
    generation: null,
    ...more,
  };
}

const lane = (step: number, laneNumber: number, ids = [step * 10 + laneNumber]): LaneRow => ({
  step,
  lane: laneNumber,
  lossSum: 1 / 3,
  exampleIds: ids,
  trainedTokens: 5,
  processedTokens: 9,
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Registers the suite for one adapter. */
export function journalContract(name: string, make: () => Promise<JournalUnderTest>): void {
  describe(`journal on ${name}`, () => {
    let subject: JournalUnderTest;
    let journal: Journal;
    let now: number;
    beforeEach(async () => {
      now = 1_000_000;
      subject = await make();
      journal = await subject.open(() => now);
    });
    afterEach(async () => {
      await journal.close();
      await subject.clean();
    });

    async function created(job = newJob("a")): Promise<JobRecord> {
      expect(await journal.create(job, [])).toBe("created");
      const record = await journal.load(job.uid);
      if (record === null) throw new Error("a created job can be loaded");
      return record;
    }

    test("a created job is found by uid and by name, exactly as it was given", async () => {
      const document = aDocument("a");
      const job = newJob("a", {
        document: { ...document, metadata: { ...document.metadata, labels: { "ü$1?": "'; --" } } },
      });
      const record = await created(job);
      expect(record).toEqual({ ...job, revision: 1, sequence: 1 });
      expect(await journal.find("default", "a")).toEqual(record);
      expect(await journal.find("default", "A")).toBeNull();
      expect(await journal.find("other", "a")).toBeNull();
      expect(await journal.load(uidOf("nobody", 1))).toBeNull();
    });

    test("a name is unique in its tenant, and a refused creation leaves nothing", async () => {
      const first = await created();
      const twin = newJob("a", { uid: uidOf("twin", 2) });
      expect(await journal.create(twin, [anEvent("never")])).toBe("exists");
      expect(await journal.load(twin.uid)).toBeNull();
      expect(await journal.create(newJob("a", { tenant: "other" }), [])).toBe("created");
      expect(await journal.find("default", "a")).toEqual(first);
      expect(
        await journal.events({ tenant: "default", jobName: null, afterSequence: 0, limit: 9 }),
      ).toEqual([]);
    });

    test("of many creators of one name exactly one wins", async () => {
      const twins = Array.from({ length: 20 }, (_, i) =>
        newJob("a", { uid: uidOf(`twin${i}`, i) }),
      );
      const results = await Promise.all(twins.map((job) => journal.create(job, [])));
      expect(results.filter((result) => result === "created")).toHaveLength(1);
      expect(await journal.list({ tenant: "default", afterName: "", limit: 50 })).toHaveLength(1);
    });

    test("save compares and swaps: of two writers from one revision one wins, whole", async () => {
      const record = await created();
      const [one, two] = await Promise.all([
        journal.save(change(record, { events: [anEvent("one")], generation: aGeneration(1) })),
        journal.save(change(record, { events: [anEvent("two")], generation: aGeneration(2) })),
      ]);
      expect([one.saved, two.saved]).toEqual([true, false]);
      expect(await journal.generations(record.uid)).toEqual([aGeneration(1)]);
      const events = await journal.events({
        tenant: "default",
        jobName: "a",
        afterSequence: 0,
        limit: 9,
      });
      expect(events.map(({ reason }) => reason.sentence)).toEqual(["one"]);
      expect(one.saved && one.record).toEqual(await journal.load(record.uid));
      expect(await journal.save(change({ ...record, uid: uidOf("nobody", 1) }))).toEqual({
        saved: false,
      });
    });

    test("state, status and end are what was saved last", async () => {
      const record = await created();
      const state = aState(record.uid, "cancelled");
      const status = { ...record.status, state: "Cancelled" as const };
      const saved = await journal.save(change(record, { state, status, finishedMs: 77 }));
      expect(saved.saved && saved.record).toEqual({
        ...record,
        state,
        status,
        finishedMs: 77,
        revision: 2,
        sequence: 2,
      });
    });

    test("what seldom changes of a state and what often does are those saved last", async () => {
      let record = await created();
      const next = async (state: JobState): Promise<void> => {
        const saved = await journal.save(change(record, { state }));
        if (!saved.saved) throw new Error("nobody else saves");
        expect(await journal.load(record.uid)).toEqual(saved.record);
        record = saved.record;
      };
      const state = { ...training(), uid: record.uid };
      if (state.phase !== "active") throw new Error("a job that trains is active");
      const { live } = state;
      await next(state);
      await next({ ...state, live: { ...live, step: 11 } });
      const committed = live.committed && { ...live.committed, mode: "pausing" as const };
      await next({ ...state, live: { ...live, step: 12, committed } });
      await next({ ...state, live: { ...live, step: 13, committed } });
      // One part alone, each of them.
      await next(state);
      await next({ ...state, live: { ...live, facts: null } });
      await next(state);
      await next({ ...state, live: { ...live, plan: { ...live.plan, blockElements: 4_096 } } });
      await next(state);
      await next({ ...state, submittedPlan: { ...state.submittedPlan, blockElements: 4_096 } });
      await next(state);
      await next({ ...state, spec: { ...state.spec, seed: 99 } } as JobState);
      if (!subject.isDurable) return;
      await journal.close();
      journal = await subject.open(() => now);
      expect(await journal.load(record.uid)).toEqual(record);
      await next({ ...state, live: { ...live, step: 14 } });
    });

    test("lists by name in pages, per tenant or over all", async () => {
      for (const name of ["b", "a-b", "a", "a-10", "c"]) await created(newJob(name));
      await created(newJob("zz", { tenant: "another" }));
      const names = async (afterName: string, limit: number, tenant: string | null = "default") =>
        (await journal.list({ tenant, afterName, limit })).map(
          (job) => `${job.tenant}/${job.name}`,
        );
      expect(await names("", 2)).toEqual(["default/a", "default/a-10"]);
      expect(await names("a-10", 2)).toEqual(["default/a-b", "default/b"]);
      expect(await names("b", 9)).toEqual(["default/c"]);
      expect(await names("", 2, null)).toEqual(["another/zz", "default/a"]);
      expect(await names("default/a", 9, null)).toEqual([
        "default/a-10",
        "default/a-b",
        "default/b",
        "default/c",
      ]);
    });

    test("unfinished jobs of every tenant, by creation", async () => {
      await created(newJob("late", { createdMs: 30 }));
      await created(newJob("early", { createdMs: 10, tenant: "other" }));
      const done = await created(newJob("done", { createdMs: 20 }));
      await journal.save(change(done, { state: aState(done.uid, "cancelled"), finishedMs: 40 }));
      expect((await journal.unfinished()).map(({ name: job }) => job)).toEqual(["early", "late"]);
    });

    test("a removed job is gone with its rows; its name is free and its history not inherited", async () => {
      const record = await created();
      await journal.save(change(record, { events: [anEvent("old")], generation: aGeneration(1) }));
      await journal.recordLanes(record.uid, [lane(1, 0)], 1);
      const before = journal.sequence;
      await journal.remove(record.uid);
      await journal.remove(record.uid);
      expect(await journal.load(record.uid)).toBeNull();
      expect(await journal.generations(record.uid)).toEqual([]);
      expect(await all(journal.consumed(record.uid, 9))).toEqual([]);
      expect(
        await journal.events({ tenant: "default", jobName: "a", afterSequence: 0, limit: 9 }),
      ).toEqual([]);
      expect(journal.removedSince(before)).toEqual([
        { uid: record.uid, tenant: "default", name: "a", sequence: before + 1 },
      ]);
      expect(journal.removedSince(before + 1)).toEqual([]);
      expect(await journal.recordLanes(record.uid, [lane(1, 0)], 1)).toBe(0);
      const next = await created(newJob("a", { uid: uidOf("next", 9) }));
      expect(next.sequence).toBeGreaterThan(before + 1);
      expect(await all(journal.consumed(record.uid, 9))).toEqual([]);
    });

    test("sequences grow over jobs and events, without one being given twice", async () => {
      const a = await created(newJob("a"));
      const b = await created(newJob("b"));
      await journal.save(change(a, { events: [anEvent("1"), anEvent("2")] }));
      await journal.save(change(b, { events: [anEvent("3")] }));
      const events = await journal.events({
        tenant: "default",
        jobName: null,
        afterSequence: 0,
        limit: 9,
      });
      const records = await journal.list({ tenant: "default", afterName: "", limit: 9 });
      const numbers = [...events, ...records].map(({ sequence }) => sequence);
      expect(new Set(numbers).size).toBe(5);
      expect(events.map(({ sequence }) => sequence)).toEqual(
        [...events.map(({ sequence }) => sequence)].sort((x, y) => x - y),
      );
      expect(Math.max(...numbers)).toBe(journal.sequence);
    });

    test("events: by tenant, by job, after a sequence, up to a limit, with every field", async () => {
      const a = await created(newJob("a"));
      const other = await created(newJob("a", { tenant: "other" }));
      const warning: EventDraft = {
        ...anEvent("two"),
        severity: "warning",
        generation: 3,
        step: 4,
        timeMs: 6,
      };
      await journal.save(change(a, { events: [anEvent("one"), warning] }));
      await journal.save(change(other, { events: [anEvent("hidden")] }));
      const query = { tenant: "default", jobName: null, afterSequence: 0, limit: 9 };
      const [one, two, ...rest] = await journal.events(query);
      expect(rest).toEqual([]);
      expect(two).toEqual({
        ...warning,
        tenant: "default",
        jobName: "a",
        uid: a.uid,
        sequence: two?.sequence,
      });
      expect(await journal.events({ ...query, afterSequence: one?.sequence ?? 0 })).toEqual([two]);
      expect(await journal.events({ ...query, limit: 1 })).toEqual([one]);
      expect(await journal.events({ ...query, jobName: "b" })).toEqual([]);
    });

    test("a generation that is saved again replaces its row", async () => {
      const first = await created();
      const saved = await journal.save(change(first, { generation: aGeneration(2) }));
      if (!saved.saved) throw new Error("nobody else writes");
      const again = { ...aGeneration(2), seconds: 0.5 };
      const next = await journal.save(change(saved.record, { generation: again }));
      if (!next.saved) throw new Error("nobody else writes");
      await journal.save(change(next.record, { generation: aGeneration(1) }));
      expect(await journal.generations(first.uid)).toEqual([aGeneration(1), again]);
    });

    test("lanes: the highest step without a gap, in any order of arrival, any row twice", async () => {
      const { uid } = await created();
      expect(await journal.recordLanes(uid, [lane(1, 0), lane(2, 0), lane(2, 1)], 2)).toBe(0);
      expect(await journal.recordLanes(uid, [lane(4, 0), lane(4, 1)], 2)).toBe(0);
      expect(await journal.recordLanes(uid, [lane(1, 1), lane(1, 0)], 2)).toBe(2);
      expect(await journal.recordLanes(uid, [], 2)).toBe(2);
      expect(await journal.recordLanes(uid, [lane(3, 1), lane(3, 0)], 2)).toBe(4);
      expect(await all(journal.consumed(uid, 3))).toEqual([[10], [11], [20], [21], [30], [31]]);
      expect(await all(journal.consumed(uid, 0))).toEqual([]);
    });

    test("a lane that comes again with other examples is an error, and the first stays", async () => {
      const { uid } = await created();
      await journal.recordLanes(uid, [lane(1, 0, [7, 8])], 2);
      await expect(journal.recordLanes(uid, [lane(1, 1), lane(1, 0, [8, 7])], 2)).rejects.toThrow(
        `lane 0 of step 1 of job ${uid} was reported with other examples`,
      );
      expect(await all(journal.consumed(uid, 1))).toEqual([[7, 8]]);
    });

    test("a lane whose loss is no number, or that consumed nothing, is on record", async () => {
      const { uid } = await created();
      const rows = [{ ...lane(1, 0), lossSum: Number.NaN }, lane(1, 1, [])];
      expect(await journal.recordLanes(uid, rows, 2)).toBe(1);
      expect(await all(journal.consumed(uid, 1))).toEqual([[10], []]);
    });

    test("three thousand rows come back in order, through many pages", async () => {
      const { uid } = await created();
      const rows = Array.from({ length: 3_000 }, (_, i) => lane(1 + Math.floor(i / 4), i % 4, [i]));
      const shuffled = [...rows].sort(
        (a, b) => ((a.exampleIds[0] ?? 0) % 7) - ((b.exampleIds[0] ?? 0) % 7),
      );
      expect(await journal.recordLanes(uid, shuffled, 4)).toBe(750);
      expect((await all(journal.consumed(uid, 750))).flat()).toEqual(rows.map((_, i) => i));
    });

    test("the first answer to a request is remembered for a day, per tenant", async () => {
      expect(await journal.answered("default", "r1")).toBeNull();
      await journal.rememberAnswer("default", "r1", "created");
      await journal.rememberAnswer("default", "r1", "something else");
      expect(await journal.answered("default", "r1")).toBe("created");
      expect(await journal.answered("other", "r1")).toBeNull();
      now += ANSWER_KEPT_MS;
      expect(await journal.answered("default", "r1")).toBeNull();
      await journal.rememberAnswer("default", "r1", "anew");
      expect(await journal.answered("default", "r1")).toBe("anew");
    });

    test("subscribers hear of each durable change once, and no more after they left", async () => {
      const heard: string[] = [];
      const seen: number[] = [];
      const leave = journal.subscribe((uid) => {
        heard.push(uid);
        seen.push(journal.sequence);
      });
      const record = await created();
      await journal.save(change(record));
      await journal.save(change(record)); // lost: nothing changed
      await journal.remove(record.uid);
      expect(heard).toEqual([record.uid, record.uid, record.uid]);
      expect(seen).toEqual([1, 2, 3]);
      leave();
      await created(newJob("b"));
      expect(heard).toHaveLength(3);
    });

    test("everything acknowledged is there after closing and opening again", async ({ skip }) => {
      if (!subject.isDurable) skip("memory forgets");
      const record = await created();
      await journal.save(change(record, { events: [anEvent("kept")], generation: aGeneration(1) }));
      await journal.recordLanes(record.uid, [lane(1, 0)], 1);
      await journal.rememberAnswer("default", "r1", "created");
      const { sequence } = journal;
      await journal.close();
      journal = await subject.open(() => now);
      expect(journal.sequence).toBe(sequence);
      expect((await journal.load(record.uid))?.revision).toBe(2);
      expect(await journal.recordLanes(record.uid, [lane(2, 0)], 1)).toBe(2);
      expect(await journal.answered("default", "r1")).toBe("created");
    });
  });
}
