import { queuedStatus } from "@shardwright/job";
import { localSnapshot } from "@shardwright/scheduler";
import { createLog } from "@shardwright/service";
import { describe, expect, it } from "vitest";
import { aDocument, aPlan } from "../../../test/support/job-builder.ts";
import { queued, training } from "../../../test/support/training-job.ts";
import { erasureOf } from "./core/erasure.ts";
import { POLICY_DEFAULT } from "./core/policy.ts";
import type { JobState } from "./core/state.ts";
import { createDriver, type Driver, type DriverWorld } from "./driver.ts";
import { createMeasures } from "./measures.ts";
import type { JobStore, Launcher } from "./ports.ts";
import { createMemoryJournal } from "./store/memory.ts";

// Deletion, with a process that dies at each point at which it touches what outlives it.

const UID = "u";
const LATER_MAX = 2_000;

/** Lets everything that can happen now happen; true when `isSo` has come true. */
async function eventually(isSo: () => Promise<boolean>): Promise<boolean> {
  for (let i = 0; i < LATER_MAX; i++) {
    if (await isSo()) return true;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}
const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** What a crash leaves: the journal, the folder of the checkpoints, the members. */
interface Durable {
  readonly store: JobStore;
  hasCheckpoints: boolean;
  members: readonly string[];
}

async function durableWith(state: JobState): Promise<Durable> {
  const store = createMemoryJournal(() => 0);
  const job = { uid: UID, tenant: "default", name: "a", createdMs: 0, finishedMs: null };
  const status = queuedStatus(state.reason, aPlan());
  await store.create(
    { ...job, document: aDocument("a"), state: { ...state, uid: UID }, status },
    [],
  );
  return { store, hasCheckpoints: true, members: state.phase === "active" ? ["m0", "m1"] : [] };
}

/** One life of the process. It dies at point `diesAt`, half of which lie before and half after a deed is done. */
class Process {
  readonly driver: Driver;
  isDead = false;
  points = 0;
  private readonly diesAt: number;
  private now = 0;

  constructor(durable: Durable, diesAt: number) {
    this.diesAt = diesAt;
    this.driver = createDriver(this.worldOf(durable));
  }

  private worldOf(durable: Durable): DriverWorld {
    const { store } = durable;
    const log = createLog({ service: "test", version: "0", level: "silent" });
    const checkpoints = {
      // Late, and on a folder that they make when it is not there.
      begin: this.fatal(async () => {
        await turns(8);
        durable.hasCheckpoints = true;
        throw new Error("the answer is lost");
      }),
      abort: this.fatal(async () => {
        await turns(8);
        durable.hasCheckpoints = true;
        return null;
      }),
      deleteRun: this.fatal(async () => {
        durable.hasCheckpoints = false;
      }),
    };
    const launcher = {
      onEnd: () => undefined,
      running: async () =>
        durable.members.map((member) => ({ uid: UID, member, incarnation: 1, pid: 1 })),
      launchMember: async () => 1,
      stopMember: async () => undefined,
      release: this.fatal(async () => {
        durable.members = [];
      }),
      snapshot: () => localSnapshot({ name: "here", slots: 2, memoryBytes: 2 ** 33 }),
      ensureStore: async () => ({ host: "h", port: 1 }),
      stopStore: async () => undefined,
    } as unknown as Launcher;
    const sleep = async (): Promise<void> => {
      this.now += 50;
      await turns(1);
      if (this.isDead) await new Promise(() => undefined);
    };
    const clock = { now: () => this.now, sleep } as unknown as DriverWorld["clock"];
    const meter = { observe() {}, remove() {}, add() {}, set() {}, reset() {} };
    return {
      store: {
        create: store.create.bind(store),
        load: store.load.bind(store),
        find: store.find.bind(store),
        list: store.list.bind(store),
        unfinished: store.unfinished.bind(store),
        save: this.fatal(store.save.bind(store)),
        remove: this.fatal(store.remove.bind(store)),
        close: store.close.bind(store),
      },
      launcher,
      sessions: { update() {}, broadcast() {}, sendTo() {} } as unknown as DriverWorld["sessions"],
      performing: {
        launcher,
        checkpoints: checkpoints as never,
        history: {} as never,
        memberSecret: "s",
        exportsDirectory: "/",
        restartRank: () => undefined,
        sleep,
        log,
      },
      clock,
      policy: POLICY_DEFAULT,
      measures: createMeasures(meter as never),
      wasStopped: false,
      log,
    };
  }

  /** The deed between two points at which the process may die; who is dead neither does nor hears anything. */
  private fatal<A extends unknown[], R>(deed: (...args: A) => Promise<R>) {
    return async (...args: A): Promise<R> => {
      await this.point();
      const result = await deed(...args);
      await this.point();
      return result;
    };
  }

  private async point(): Promise<void> {
    if (this.points++ === this.diesAt) this.isDead = true;
    if (this.isDead) await new Promise(() => undefined);
  }
}

function complete(): JobState {
  const state = training();
  if (state.phase !== "active") throw new Error("it trains");
  const result = { weightsSha256: "w", stateSha256: "s", consumedSha256: "c", artifacts: [] };
  return { ...state, phase: "complete", result, effects: [] };
}

/** A save that the checkpoint-manager knows of is to be aborted, or one is being begun. */
function saving(isBegun: boolean): JobState {
  const state = training();
  if (state.phase !== "active") throw new Error("it trains");
  const key = { run: UID, step: 10, generation: 1, try: 0, saveId: "s1" };
  const begun = { key, directory: "/d", schemaSha256: "", schemaJson: "", crcBlockBytes: 1 };
  const save = {
    step: 10,
    generation: 1,
    trigger: "periodic",
    sinceMs: 0,
    staged: ["m0"],
    members: ["m0", "m1"],
    begun: isBegun ? begun : null,
  } as const;
  const begin = { step: 10, generation: 1, trigger: "periodic" };
  return {
    ...state,
    live: { ...state.live, save },
    effects: isBegun ? [] : [{ id: "begin:10:1", kind: "beginSave", ...begin }],
  };
}

const JOBS: readonly [string, () => JobState][] = [
  ["waits", queued],
  ["trains and has a save to abort", () => saving(true)],
  ["trains and begins a save", () => saving(false)],
  ["is complete", complete],
];

describe.each(JOBS)("deleting a job that %s", (_, make) => {
  const isGone = async ({ store, hasCheckpoints }: Durable): Promise<boolean> =>
    (await store.load(UID)) === null && !hasCheckpoints;

  it("takes its checkpoints, then its row, and answers when both are gone", async () => {
    const durable = await durableWith(make());
    const { driver } = new Process(durable, Number.POSITIVE_INFINITY);
    await driver.start();
    await driver.remove(UID, true);
    expect(await isGone(durable)).toBe(true);
    await turns(20); // nothing that was under way brings them back
    expect(await isGone(durable)).toBe(true);
    await driver.remove(UID, true); // gone already is success
    await driver.stop();
  });

  it("leaves its checkpoints when they are not wanted gone", async () => {
    const durable = await durableWith(make());
    const { driver } = new Process(durable, Number.POSITIVE_INFINITY);
    await driver.start();
    await driver.remove(UID, false);
    expect([await durable.store.load(UID), durable.hasCheckpoints]).toEqual([null, true]);
    await driver.stop();
  });

  it("is all or nothing, wherever the process dies", async () => {
    let died = 0;
    for (let diesAt = 0; ; diesAt++) {
      const durable = await durableWith(make());
      const first = new Process(durable, diesAt);
      let isAnswered = false;
      void first.driver
        .start()
        .then(() => first.driver.remove(UID, true))
        .then(() => {
          isAnswered = true;
        });
      expect(await eventually(async () => isAnswered || first.isDead)).toBe(true);
      if (!first.isDead) break;
      died++;
      await turns(20); // what it had sent arrives
      const left = await durable.store.load(UID);
      if (left === null) expect([diesAt, durable.hasCheckpoints]).toEqual([diesAt, false]);
      const isMarked = left === null || erasureOf(left.state) !== null;
      const second = new Process(durable, Number.POSITIVE_INFINITY);
      await second.driver.start();
      if (isMarked) {
        expect([diesAt, await eventually(() => isGone(durable))]).toEqual([diesAt, true]);
      } else {
        await turns(50);
        expect(await durable.store.load(UID)).not.toBeNull();
        expect([diesAt, durable.hasCheckpoints]).toEqual([diesAt, true]);
      }
      await second.driver.stop();
    }
    expect(died).toBeGreaterThanOrEqual(8); // mark, release, checkpoints, row: before and after each
  });
});
