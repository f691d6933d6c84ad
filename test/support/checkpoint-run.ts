// A save desk over a store in memory, with writers in TypeScript: whole checkpoints in milliseconds.
import type { BeginRequest } from "../../packages/checkpoint-manager/src/core/begin-save.ts";
import { commitKey } from "../../packages/checkpoint-manager/src/core/commit-key.ts";
import { parseSchema, type Schema } from "../../packages/checkpoint-manager/src/core/schema.ts";
import { sound } from "../../packages/checkpoint-manager/src/damage.ts";
import type { CheckpointStore } from "../../packages/checkpoint-manager/src/ports.ts";
import { memoryStore } from "../../packages/checkpoint-manager/src/registers/memory.ts";
import {
  type Begun,
  openSaveDesk,
  type SaveDesk,
  type SaveRef,
} from "../../packages/checkpoint-manager/src/saves.ts";
import { withinRun } from "../../packages/checkpoint-manager/src/stored-file.ts";
import { createLog } from "../../packages/service/src/log.ts";
import { type WriteOrder, writeShard } from "./checkpoint-writer.ts";

export const RUN = "01K9Z5T7Q3M8R2V4X6B0C1D2E3";
export const SALT = 7;
export const silent = createLog({ service: "test", version: "0", level: "silent" });

/** Two tensors that share a block, blocks of 64 elements, the last one short: 5 blocks over `owners`. */
export function aBegin(
  over: Partial<BeginRequest> & { readonly owners?: readonly number[] } = {},
): BeginRequest {
  const { owners = [0, 0, 1, 1, 1], ...rest } = over;
  return {
    tenant: "default",
    run: RUN,
    jobName: "job",
    step: 10,
    generation: 1,
    trigger: "periodic",
    tensors: [
      { fqn: "a.weight", shape: [10, 10], begin: 0, end: 100 },
      { fqn: "b.weight", shape: [200], begin: 100, end: 300 },
    ],
    elements: 300,
    blockElements: 64,
    blocks: owners.length,
    runs: owners.map((owner, block) => ({ firstBlock: block, blocks: 1, holders: [owner] })),
    worldSize: Math.max(...owners) + 1,
    zeroStage: 1,
    facts: { optimizer: { class: "adamw", step: 10 } },
    keepLast: 0,
    ...rest,
  };
}

export interface World {
  readonly root: CheckpointStore;
  /** Of the one run. */
  readonly store: CheckpointStore;
  readonly desk: SaveDesk;
  nowMs: number;
}

/** `open` is the desk's; another one where a rule is taken out of it. */
export function aWorld(
  root: CheckpointStore = memoryStore(),
  open: typeof openSaveDesk = openSaveDesk,
): World {
  const world = { root, store: withinRun(root, RUN), nowMs: Date.parse("2026-11-23T12:00:00Z") };
  const desk = open({
    store: root,
    log: silent,
    now: () => (world as { nowMs: number }).nowMs,
    saveDeadlineMs: 1_800_000,
    readerGraceMs: 3_600_000,
  });
  return Object.assign(world, { desk });
}

export function refOf(begun: Begun): SaveRef {
  const { run, step, generation, save_id } = begun.marker;
  return { run, save: { step, generation, try: begun.marker.try }, saveId: save_id };
}

export function schemaOf(begun: Begun): Schema {
  return sound(parseSchema("schema", begun.schemaText));
}

/** Blocks a writer owns in a save. */
export function blocksOf(begun: Begun, writer: number): readonly number[] {
  return begun.marker.plan.layout.runs.flatMap(([owner, first, count]) =>
    owner === writer ? Array.from({ length: count }, (_, index) => first + index) : [],
  );
}

/** Writes one writer's files; `over` bends what it writes. */
export async function write(
  store: CheckpointStore,
  begun: Begun,
  over: {
    readonly writer: number;
    readonly blocks?: readonly number[];
    readonly salt?: number;
    readonly incarnation?: number;
    readonly bytesOf?: WriteOrder["bytesOf"] & {};
  },
): ReturnType<typeof writeShard> {
  const { writer } = over;
  return await writeShard(store, {
    schema: schemaOf(begun),
    marker: begun.marker,
    blocks: blocksOf(begun, writer),
    crcBlock: 4096,
    salt: SALT,
    ...over,
  });
}

/** One whole committed checkpoint; returns its commit key. */
export async function save(world: World, over: Parameters<typeof aBegin>[0] = {}): Promise<string> {
  const begun = await world.desk.begin(aBegin(over));
  let status = "waiting";
  for (const writer of begun.marker.plan.writers) {
    const prepared = await write(world.store, begun, { writer, salt: SALT + begun.marker.step });
    status = (await world.desk.prepared(refOf(begun), prepared)).status;
  }
  if (status !== "committed") throw new Error(`save is ${status}`);
  return commitKey(begun.marker);
}
