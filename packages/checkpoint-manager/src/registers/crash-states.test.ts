import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  aBegin,
  aWorld,
  blocksOf,
  RUN,
  refOf,
  schemaOf,
} from "../../../../test/support/checkpoint-run.ts";
import { writeShard } from "../../../../test/support/checkpoint-writer.ts";
import {
  type CrashState,
  crashStates,
  type DiskCall,
} from "../../../../test/support/crash-disk.ts";
import { commitKey } from "../core/commit-key.ts";
import { withinRun } from "../stored-file.ts";
import { verifyCommit } from "../verify.ts";
import { memoryStore } from "./memory.ts";
import { posixStore } from "./posix.ts";
import { type PosixCalls, posixCalls } from "./posix-calls.ts";

/** The real calls, noted in order. */
function recorder(root: string, trace: DiskCall[]): PosixCalls {
  const at = (path: string): string => relative(root, path);
  return {
    makeFolder: async (path) => {
      const made = await posixCalls.makeFolder(path);
      if (made) trace.push({ call: "mkdir", path: at(path) });
      return made;
    },
    openNew: async (path) => {
      const file = await posixCalls.openNew(path);
      trace.push({ call: "creat", path: at(path) });
      return {
        write: async (bytes) => {
          await file.write(bytes);
          trace.push({ call: "write", path: at(path), bytes: new Uint8Array(bytes) });
        },
        sync: async () => void trace.push({ call: "fsync", path: at(path) }),
        close: file.close,
      };
    },
    link: async (existing, path) => {
      const made = await posixCalls.link(existing, path);
      if (made) trace.push({ call: "link", path: at(existing), target: at(path) });
      return made;
    },
    unlink: async (path) => {
      await posixCalls.unlink(path);
      trace.push({ call: "unlink", path: at(path) });
    },
    rename: async (from, to) => {
      await posixCalls.rename(from, to);
      trace.push({ call: "rename", path: at(from), target: at(to) });
    },
    syncFolder: async (path) => void trace.push({ call: "fsyncdir", path: at(path) }),
  };
}

/** A writer's calls as packages/trainer/shardwright_trainer/files/packs.py makes them, made of a finished folder. */
function writerCalls(folder: string, files: ReadonlyMap<string, Uint8Array>): readonly DiskCall[] {
  const calls = [...files].flatMap(([path, bytes]): DiskCall[] => [
    { call: "creat", path },
    { call: "write", path, bytes },
    { call: "fsync", path },
  ]);
  return [...calls, { call: "fsyncdir", path: folder }];
}

interface Recorded {
  readonly trace: readonly DiskCall[];
  readonly key: string;
  readonly folder: string;
}

/** One save from its beginning to its acknowledgement, on a real disk. */
async function record(root: string): Promise<Recorded> {
  const noted: DiskCall[] = [];
  const world = aWorld(posixStore(root, recorder(root, noted)));
  // 1. The run and the start marker; the probe before them leaves nothing.
  const begun = await world.desk.begin(aBegin({ owners: [0, 0, 0, 0, 0] }));
  const start = noted.filter((step) => !("path" in step && step.path.startsWith(".probe")));
  const first = start.findIndex((step) => step.call === "mkdir");
  const trace: DiskCall[] = start.slice(first).filter((step) => step.call !== "rename");
  // 2. The writer.
  const folder = `${RUN}/${begun.folder}`;
  const order = {
    schema: schemaOf(begun),
    marker: begun.marker,
    writer: 0,
    blocks: blocksOf(begun, 0),
    crcBlock: 4096,
    salt: 1,
  };
  const written = memoryStore();
  await writeShard(withinRun(written, RUN), order);
  trace.push(...writerCalls(folder, written.files));
  const prepared = await writeShard(world.store, order);
  // 3. The commit, up to its answer.
  noted.length = 0;
  await world.desk.prepared(refOf(begun), prepared);
  const linked = noted.findIndex((step) => step.call === "link");
  const durable = noted.findIndex((step, index) => index > linked && step.call === "fsyncdir");
  trace.push(...noted.slice(0, durable + 1), { call: "ack" });
  return { trace, key: commitKey(begun.marker), folder };
}

/** What is wrong with a disk: a register without its data, or an acknowledged commit that is gone. */
async function violation(state: CrashState, key: string): Promise<string | null> {
  const store = memoryStore(new Map(state.files));
  const visible = state.files.has(`${RUN}/commits/${key}.json`);
  if (!visible) return state.acknowledged ? "acknowledged and gone" : null;
  const { problems } = await verifyCommit(withinRun(store, RUN), key, "full");
  return problems.length === 0 ? null : `visible and broken: ${problems[0]?.code}`;
}

// Thousands of disks, each verified in full: above one second.
describe("a power cut during a save", { timeout: 120_000 }, () => {
  let root = "";
  let recorded: Recorded;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "swc-crash-"));
    recorded = await record(root);
  });
  afterAll(async () => await rm(root, { recursive: true, force: true }));

  async function count(
    trace: readonly DiskCall[],
  ): Promise<{ states: number; violations: string[] }> {
    const violations: string[] = [];
    let states = 0;
    for (const state of crashStates(trace)) {
      states++;
      const wrong = await violation(state, recorded.key);
      if (wrong !== null) violations.push(wrong);
    }
    return { states, violations };
  }

  it("leaves a complete checkpoint or none, in every state that POSIX allows", async () => {
    const { states, violations } = await count(recorded.trace);
    expect(violations).toEqual([]);
    expect(states).toBeGreaterThan(100);
  });

  it("leaves something that a restart decides, and then a new save succeeds", async () => {
    let settled = 0;
    for (const state of crashStates(recorded.trace)) {
      const world = aWorld(memoryStore(new Map(state.files)));
      const { head } = await world.desk.head(RUN);
      if (state.acknowledged) expect(head?.step).toBe(10);
      const begun = await world.desk.begin(aBegin({ owners: [0, 0, 0, 0, 0] }));
      if (begun.decided === null) {
        const prepared = await writeShard(world.store, {
          schema: schemaOf(begun),
          marker: begun.marker,
          writer: 0,
          blocks: blocksOf(begun, 0),
          crcBlock: 4096,
          salt: 2,
        });
        expect((await world.desk.prepared(refOf(begun), prepared)).status).toBe("committed");
      }
      settled++;
    }
    expect(settled).toBeGreaterThan(100);
  });

  const MUTANTS: readonly [string, (step: DiskCall, recorded: Recorded) => boolean][] = [
    ["fsync of the packs", (step) => step.call === "fsync" && step.path.endsWith(".safetensors")],
    ["fsync of the CRC lists", (step) => step.call === "fsync" && step.path.endsWith(".crc")],
    [
      "fsync of the writer manifest",
      (step) => step.call === "fsync" && /\/w\d+\.\d+\.json$/.test(step.path),
    ],
    [
      "fsync of the save's folder",
      (step, { folder }) => step.call === "fsyncdir" && step.path === folder,
    ],
    ["fsync of data/", (step) => step.call === "fsyncdir" && step.path === `${RUN}/data`],
    [
      "fsync of the schema's folder",
      (step) => step.call === "fsyncdir" && step.path === `${RUN}/schema`,
    ],
    [
      "fsync of the commit's temporary file",
      (step) => step.call === "fsync" && step.path.startsWith(`${RUN}/commits/.tmp`),
    ],
    ["fsync of commits/", (step) => step.call === "fsyncdir" && step.path === `${RUN}/commits`],
    ["fsync of the run's folder", (step) => step.call === "fsyncdir" && step.path === RUN],
    ["fsync of the root", (step) => step.call === "fsyncdir" && step.path === ""],
  ];

  it.each(MUTANTS)("would not, without %s", async (_, isDropped) => {
    const mutant = recorded.trace.filter((step) => !isDropped(step, recorded));
    expect(mutant.length).toBeLessThan(recorded.trace.length);
    let found: string | null = null;
    for (const state of crashStates(mutant)) {
      found = await violation(state, recorded.key);
      if (found !== null) break;
    }
    expect(found).not.toBeNull();
  });
});
