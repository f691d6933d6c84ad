import { parseCommitKey } from "./core/commit-key.ts";
import type { Prepared } from "./core/save.ts";
import type { SaveMarker } from "./core/save-marker.ts";
import { RECORD_BYTES_MAX } from "./core/sealed.ts";
import { parseManifest, parseManifestName } from "./core/writer-manifest.ts";
import { Damage } from "./damage.ts";
import { abortSave, commitSave, type Decided } from "./decide.ts";
import type { CheckpointStore } from "./ports.ts";
import type { UndecidedSave } from "./run-scan.ts";
import { sha256 } from "./sha256.ts";
import { decodeText, readWhole } from "./stored-file.ts";

/** Who decides, and when. */
export interface Takeover {
  readonly run: string;
  /** RFC 3339 UTC. */
  readonly now: string;
  /** Generation on whose behalf the save is decided; 0 when none is forming. */
  readonly byGeneration: number;
}

/**
 * Decides a save that was found without a register: committed when every writer's files are there and prove
 * whole, else aborted. After this nobody can decide it otherwise, and its files are either live or garbage.
 */
export async function settleUndecided(
  store: CheckpointStore,
  save: UndecidedSave,
  takeover: Takeover,
): Promise<Decided> {
  const { marker } = save;
  if (marker.ok) {
    const prepared = await adoptManifests(store, save.name, marker.value);
    if (prepared !== null) {
      const result = await commitSave(store, marker.value, prepared);
      if ("decided" in result) return result.decided;
      return await abandon(store, save, { ...takeover, detail: result.refuted.sentence });
    }
  }
  const detail = marker.ok ? "not every writer had prepared" : marker.problem.sentence;
  return await abandon(store, save, { ...takeover, detail });
}

async function abandon(
  store: CheckpointStore,
  save: UndecidedSave,
  { run, now, byGeneration, detail }: Takeover & { readonly detail: string },
): Promise<Decided> {
  const name = parseCommitKey(save.key);
  if (name === null) throw new Error(`${save.key} is not a commit key`);
  const why = { reason: "takeover", detail, byGeneration, created: now };
  return await abortSave(store, { run, ...name, save_id: save.saveId }, why);
}

/**
 * The newest whole manifest of every writer, or null when one has none. A manifest is written after its packs
 * were fsynced, but its own fsync may never have happened, or have failed; so what the record will name is a
 * copy that is made durable here. It is never fsynced again in place: that can succeed without its bytes.
 */
async function adoptManifests(
  store: CheckpointStore,
  folder: string,
  marker: SaveMarker,
): Promise<readonly Prepared[] | null> {
  const names = await store.list(`data/${folder}`);
  const newestFirst = names
    .flatMap((name) => {
      const parsed = parseManifestName(name);
      return parsed === null ? [] : [{ name, ...parsed }];
    })
    .sort((one, other) => other.incarnation - one.incarnation);
  const prepared: Prepared[] = [];
  for (const writer of marker.plan.writers) {
    const candidates = newestFirst.filter((one) => one.writer === writer);
    const found = await firstWhole(store, folder, { marker, candidates });
    if (found === null) return null;
    prepared.push(found);
  }
  return prepared;
}

interface Found {
  readonly name: string;
  readonly writer: number;
  readonly incarnation: number;
}

async function firstWhole(
  store: CheckpointStore,
  folder: string,
  { marker, candidates }: { readonly marker: SaveMarker; readonly candidates: readonly Found[] },
): Promise<Prepared | null> {
  for (const { name, writer, incarnation } of candidates) {
    const bytes = await wholeManifest(store, `data/${folder}/${name}`, { marker, writer });
    if (bytes === null) continue;
    const manifestPath = name.replace(/\.json$/, ".adopted.json");
    await store.create(`data/${folder}/${manifestPath}`, bytes);
    return { writer, incarnation, manifestPath, manifestSha256: sha256(bytes), bytes: 0 };
  }
  return null;
}

async function wholeManifest(
  store: CheckpointStore,
  path: string,
  { marker, writer }: { readonly marker: SaveMarker; readonly writer: number },
): Promise<Uint8Array | null> {
  try {
    const bytes = await readWhole(store, path, RECORD_BYTES_MAX);
    const expected = {
      writer,
      saveId: marker.save_id,
      step: marker.step,
      generation: marker.generation,
      schemaSha256: marker.plan.schema.sha256,
    };
    return parseManifest(path, decodeText(path, bytes), expected, sha256).ok ? bytes : null;
  } catch (reason) {
    if (reason instanceof Damage) return null;
    throw reason;
  }
}
