import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { registerPath } from "./core/commit-record.ts";
import { chooseVictims, type RetentionPolicy } from "./core/retention.ts";
import { RECORD_BYTES_MAX, seal } from "./core/sealed.ts";
import { parseManifest } from "./core/writer-manifest.ts";
import { Damage } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";
import { type RunScan, scanRun } from "./run-scan.ts";
import { sha256 } from "./sha256.ts";
import { readText } from "./stored-file.ts";

export interface SweepOrder {
  readonly policy: RetentionPolicy;
  readonly nowMs: number;
  /** How long readers that opened a commit before it was retired may go on reading its data. */
  readonly readerGraceMs: number;
}

/** What a sweep did, for the log. */
export interface Swept {
  readonly retired: readonly string[];
  /** Folders under data/ that were deleted. */
  readonly deleted: readonly string[];
}

/**
 * Retires what the policy lets go and deletes the data of what was retired or aborted. Run after a commit was
 * acknowledged, never before. Every step may be repeated after a crash: nothing is deleted whose decision is not
 * durable, and the order below never leaves a live commit without data.
 */
export async function sweepRun(store: CheckpointStore, order: SweepOrder): Promise<Swept> {
  const before = await scanRun(store);
  const victims = chooseVictims(before.candidates, order.policy, holdsOf(before));
  // 1. Tombstones: from here on no reader chooses them, and a late commit of the same name is ignored.
  for (const key of victims) await retire(store, key, order.nowMs);
  // 2. A save that began meanwhile and names a victim as its parent is seen here, and its parent kept.
  const after = await scanRun(store);
  const needed = holdsOf(after).parentsOfUndecided;
  const gone = after.candidates.filter(
    (candidate) => candidate.retired && !needed.has(candidate.key),
  );
  // 3. The registers of the retired.
  for (const { key } of gone) await store.remove(registerPath(key));
  // 4. and 5. Their data, after the readers' grace, and that of aborted saves.
  const deleted = await deleteData(store, await scanRun(store), order);
  return { retired: victims, deleted };
}

function holdsOf(scan: RunScan): {
  parentsOfUndecided: ReadonlySet<string>;
  pinned: ReadonlySet<string>;
} {
  const parents = scan.undecided.flatMap(({ marker }) => (marker.ok ? marker.value.parents : []));
  return { parentsOfUndecided: new Set(parents), pinned: scan.pinned };
}

async function retire(store: CheckpointStore, key: string, nowMs: number): Promise<void> {
  const created = new Date(nowMs).toISOString();
  const text = seal({ swc: SWC_VERSION, retired: key, reason: "keepLast", created }, sha256);
  await store.create(`tombstones/${key}.json`, Buffer.from(text));
}

async function deleteData(
  store: CheckpointStore,
  scan: RunScan,
  order: SweepOrder,
): Promise<readonly string[]> {
  const referenced = await referencedFolders(store, scan);
  const deleted: string[] = [];
  for (const folder of scan.folders) {
    if (referenced.has(folder.name)) continue;
    const retiredMs = scan.tombstones.get(folder.key);
    const standing = scan.candidates.find((candidate) => candidate.key === folder.key);
    // Undecided, or decided by a record that nobody can read: its data may be live.
    if (retiredMs === undefined && standing?.register.ok !== true) continue;
    if (retiredMs !== undefined && order.nowMs < retiredMs + order.readerGraceMs) continue;
    if (retiredMs !== undefined && standing !== undefined) continue; // kept in step 2
    await store.remove(`data/${folder.name}`);
    deleted.push(folder.name);
  }
  return deleted;
}

/** Folders that a live commit or an undecided save needs, directly or by reference to a file of its parent. */
async function referencedFolders(
  store: CheckpointStore,
  scan: RunScan,
): Promise<ReadonlySet<string>> {
  const folders = new Set(scan.undecided.map((save) => save.name));
  for (const { register, retired } of scan.candidates) {
    if (!register.ok || register.value.status !== "committed" || retired) continue;
    const record = register.value;
    for (const writer of record.writers) {
      folders.add(writer.manifest.split("/")[1] ?? "");
      for (const from of await filesFrom(store, writer.manifest, record)) folders.add(from);
    }
  }
  return folders;
}

async function filesFrom(
  store: CheckpointStore,
  path: string,
  record: {
    readonly save_id: string;
    readonly step: number;
    readonly generation: number;
    readonly schema: { readonly sha256: string };
    readonly writers: readonly { readonly id: number; readonly manifest: string }[];
  },
): Promise<readonly string[]> {
  const writer = record.writers.find((one) => one.manifest === path)?.id ?? 0;
  const expected = {
    writer,
    saveId: record.save_id,
    step: record.step,
    generation: record.generation,
    schemaSha256: record.schema.sha256,
  };
  try {
    const manifest = parseManifest(
      path,
      await readText(store, path, RECORD_BYTES_MAX),
      expected,
      sha256,
    );
    if (!manifest.ok) throw new Damage(manifest.problem);
    return manifest.value.files.flatMap((file) => (file.from === undefined ? [] : [file.from]));
  } catch (reason) {
    // A damaged manifest may name anything: rather keep all than delete what a live commit needs.
    if (reason instanceof Damage)
      throw new Error(`cannot tell what ${path} refers to`, { cause: reason });
    throw reason;
  }
}
