import { parseDataFolder } from "./core/commit-key.ts";
import type { Candidate } from "./core/head.ts";
import { parseMarker, type SaveMarker } from "./core/save-marker.ts";
import { RECORD_BYTES_MAX, unseal } from "./core/sealed.ts";
import type { Checked } from "./core/swc-problem.ts";
import { Damage } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";
import { readRegister } from "./reader.ts";
import { sha256 } from "./sha256.ts";
import { readText } from "./stored-file.ts";

/** One folder under data/. */
export interface SaveFolder {
  readonly name: string;
  readonly key: string;
  readonly saveId: string;
}

/** A save that no register decides yet. */
export interface UndecidedSave extends SaveFolder {
  /** Unreadable or absent when the crash came before the marker was whole. */
  readonly marker: Checked<SaveMarker>;
}

/** Everything of a run that decisions rest on, read once. */
export interface RunScan {
  readonly candidates: readonly Candidate[];
  readonly undecided: readonly UndecidedSave[];
  readonly folders: readonly SaveFolder[];
  /** Retired commit → when, in Unix milliseconds (0 when the tombstone is unreadable). */
  readonly tombstones: ReadonlyMap<string, number>;
  readonly pinned: ReadonlySet<string>;
}

/** Reads a run; `store` is that of the run. What it reports is durable. */
export async function scanRun(store: CheckpointStore): Promise<RunScan> {
  const tombstones = await readTombstones(store);
  const quarantined = new Map<string, string>();
  for (const key of await keysIn(store, "quarantine"))
    quarantined.set(key, await quarantineReason(store, key));
  const candidates: Candidate[] = [];
  for (const key of await keysIn(store, "commits")) {
    const register = await readRegister(store, key);
    if (register === null) continue; // removed since it was listed
    candidates.push({
      key,
      register,
      retired: tombstones.has(key),
      quarantined: quarantined.get(key) ?? null,
    });
  }
  const folders = (await store.list("data")).flatMap((name) => {
    const parsed = parseDataFolder(name);
    return parsed === null ? [] : [{ name, ...parsed }];
  });
  const decided = new Set([...candidates.map((candidate) => candidate.key), ...tombstones.keys()]);
  const undecided: UndecidedSave[] = [];
  for (const folder of folders) {
    if (!decided.has(folder.key))
      undecided.push({ ...folder, marker: await readMarker(store, folder.name) });
  }
  return { candidates, undecided, folders, tombstones, pinned: new Set(await store.list("pins")) };
}

/** The start marker of a save's folder. */
export async function readMarker(
  store: CheckpointStore,
  folder: string,
): Promise<Checked<SaveMarker>> {
  const path = `data/${folder}/save.json`;
  try {
    return parseMarker(path, await readText(store, path, RECORD_BYTES_MAX), sha256);
  } catch (reason) {
    if (reason instanceof Damage) return { ok: false, problem: reason.problem };
    throw reason;
  }
}

async function keysIn(store: CheckpointStore, folder: string): Promise<readonly string[]> {
  return (await store.list(folder))
    .filter((name) => /^\d{20}-\d{10}-\d{3}\.json$/.test(name))
    .map((name) => name.slice(0, -".json".length));
}

/** A tombstone counts by its name alone: a damaged one still retires its commit. */
async function readTombstones(store: CheckpointStore): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const key of await keysIn(store, "tombstones")) {
    found.set(
      key,
      Date.parse(String(await fieldOf(store, `tombstones/${key}.json`, "created"))) || 0,
    );
  }
  return found;
}

async function quarantineReason(store: CheckpointStore, key: string): Promise<string> {
  return String((await fieldOf(store, `quarantine/${key}.json`, "reason")) ?? "unknown");
}

async function fieldOf(store: CheckpointStore, path: string, field: string): Promise<unknown> {
  try {
    const unsealed = unseal(path, await readText(store, path, RECORD_BYTES_MAX), sha256);
    return unsealed.ok ? unsealed.value[field] : undefined;
  } catch (reason) {
    if (reason instanceof Damage) return undefined;
    throw reason;
  }
}
