import { commitKey, dataFolder } from "./core/commit-key.ts";
import {
  abortRecordText,
  commitRecordText,
  merkleOf,
  parseRegister,
  type Register,
  registerPath,
  type WriterEntry,
} from "./core/commit-record.ts";
import { proveCoverage } from "./core/coverage.ts";
import { contentsOf } from "./core/extents.ts";
import type { Prepared } from "./core/save.ts";
import type { SaveMarker } from "./core/save-marker.ts";
import { hasStateDigest, stateDigest } from "./core/state-digest.ts";
import type { Checked, Problem } from "./core/swc-problem.ts";
import { Damage, sound } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";
import { type OpenWriter, openWriters, readSchema } from "./reader.ts";
import { sha256 } from "./sha256.ts";

/** What the register of a save says after we tried to decide it; it may be somebody else's decision. */
export type Decided = Checked<Register>;

/**
 * Proves that the writers' files are the whole checkpoint, then decides the register. Returns the problem when
 * the proof fails (nothing is decided then), else what the register says. Idempotent: the record's bytes are a
 * function of the marker and the manifests.
 */
export async function commitSave(
  store: CheckpointStore,
  marker: SaveMarker,
  prepared: readonly Prepared[],
): Promise<{ readonly refuted: Problem } | { readonly decided: Decided }> {
  try {
    const record = await proveWhole(store, marker, prepared);
    return { decided: await decideRegister(store, commitKey(marker), record) };
  } catch (reason) {
    if (reason instanceof Damage) return { refuted: reason.problem };
    throw reason;
  }
}

/** Decides a save as not a checkpoint; what the register says then may be that it was committed before. */
export async function abortSave(
  store: CheckpointStore,
  save: Pick<SaveMarker, "run" | "step" | "generation" | "try" | "save_id">,
  why: {
    readonly reason: string;
    readonly detail: string;
    readonly byGeneration: number;
    readonly created: string;
  },
): Promise<Decided> {
  return await decideRegister(store, commitKey(save), abortRecordText(save, why, sha256));
}

async function decideRegister(store: CheckpointStore, key: string, text: string): Promise<Decided> {
  const created = await store.create(registerPath(key), Buffer.from(text));
  const standing =
    created.outcome === "taken" ? Buffer.from(created.standing).toString("utf8") : text;
  return parseRegister(key, standing, sha256);
}

/** The commit record of a save whose files are all there; Damage says what is not. */
async function proveWhole(
  store: CheckpointStore,
  marker: SaveMarker,
  prepared: readonly Prepared[],
): Promise<string> {
  const { plan } = marker;
  const folder = `data/${dataFolder(marker, marker.save_id)}`;
  const refs = prepared.map((one) => ({
    id: one.writer,
    manifest: `${folder}/${one.manifestPath}`,
    sha256: one.manifestSha256,
  }));
  const schema = await readSchema(store, plan.schema);
  const writers = await openWriters(store, { ...marker, schema: plan.schema }, refs);
  const packs = writers.flatMap((writer) => writer.packs);
  const contents = sound(contentsOf(schema, plan.schema.sha256, packs));
  const [problem] = proveCoverage(schema, contents);
  if (problem !== undefined) throw new Damage(problem);
  const digests = writers.flatMap((writer) => writer.manifest.block_digests);
  const state = hasStateDigest(schema)
    ? stateDigest(schema, plan.schema.sha256, digests, sha256)
    : null;
  const entries = writers.map(
    (writer, index): WriterEntry => ({ ...refOf(refs, index), bytes: ownBytes(writer) }),
  );
  return commitRecordText(
    marker,
    { writers: entries, merkle: merkleOf(packs, sha256), stateDigest: state },
    sha256,
  );
}

function refOf<T>(refs: readonly T[], index: number): T {
  const ref = refs[index];
  if (ref === undefined) throw new Error(`no writer ${index}`);
  return ref;
}

/** Bytes this save wrote itself; what it only refers to was counted before. */
function ownBytes({ manifest }: OpenWriter): number {
  return manifest.files.reduce((sum, file) => sum + (file.from === undefined ? file.bytes : 0), 0);
}
