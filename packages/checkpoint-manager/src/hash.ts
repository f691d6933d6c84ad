import { createHash } from "node:crypto";
import { extentsOf } from "./core/coverage.ts";
import { DTYPE_BYTES } from "./core/pack-header.ts";
import { type Section, storedKinds } from "./core/schema.ts";
import { combineDigests } from "./core/state-digest.ts";
import { Damage } from "./damage.ts";
import { type OpenCommit, readVerified } from "./reader.ts";
import { sha256 } from "./sha256.ts";

/** Read at a time; with one CRC block more it is all the memory that hashing takes. */
const READ_BYTES_MAX = 8 * 1024 * 1024;

/** What a finished job is compared by; neither depends on world size, generation, block map or store. */
export interface CommitHashes {
  /** Over the fp32 masters, little-endian, in flat order without padding. */
  readonly weightsSha256: string;
  /** Over all exp_avg, then all exp_avg_sq, then AdamW's step counter as int64 LE. */
  readonly stateSha256: string;
}

/** Hashes a checkpoint; every byte is checked against its CRC on the way. Bare hex, as results show it. */
export async function hashCommit(open: OpenCommit): Promise<CommitHashes> {
  const weights = await hashKinds(open, ["master"]);
  const state = await hashKinds(open, ["exp_avg", "exp_avg_sq"]);
  const counter = Buffer.alloc(8);
  counter.writeBigInt64LE(BigInt(optimizerStep(open)));
  return { weightsSha256: weights.digest("hex"), stateSha256: state.update(counter).digest("hex") };
}

/** AdamW's t: the step less what an overflow skipped. */
function optimizerStep({ record }: OpenCommit): number {
  const optimizer = record.raw["optimizer"] as { readonly step?: unknown } | undefined;
  return typeof optimizer?.step === "number" ? optimizer.step : record.step;
}

async function hashKinds(
  open: OpenCommit,
  kinds: readonly string[],
): Promise<ReturnType<typeof createHash>> {
  const hash = createHash("sha256");
  for (const kind of kinds) {
    for (const section of open.schema.sections) {
      if (section.kinds[kind] === undefined) {
        throw Damage.of("SWC_COVERAGE", `section ${section.id} kind ${kind}: never stored`);
      }
      for await (const bytes of flatBytes(open, section, kind)) hash.update(bytes);
    }
  }
  return hash;
}

/** The verified bytes of one kind of a section in flat order, in pieces. */
export async function* flatBytes(
  open: OpenCommit,
  section: Section,
  kind: string,
): AsyncGenerator<Uint8Array, void, void> {
  for (const run of byteRuns(open, section, kind)) {
    const pack = open.packs[run.pack];
    if (pack === undefined) throw new Error(`no pack ${run.pack}`);
    // Pieces end at borders of CRC blocks, so that none is read twice.
    const step = Math.max(1, Math.floor(READ_BYTES_MAX / pack.crcBlock)) * pack.crcBlock;
    for (let at = run.begin; at < run.end; ) {
      const stop = Math.min(run.end, (Math.floor(at / step) + 1) * step);
      yield await readVerified(open.store, pack, at, stop);
      at = stop;
    }
  }
}

interface ByteRun {
  readonly pack: number;
  readonly begin: number;
  end: number;
}

/** Extents joined where they follow one another in a file, as whole runs of blocks do. */
function byteRuns(open: OpenCommit, section: Section, kind: string): readonly ByteRun[] {
  const runs: ByteRun[] = [];
  for (const extent of extentsOf(open.contents, section, kind)) {
    const length = (extent.end - extent.begin) * extent.elementBytes;
    const last = runs.at(-1);
    if (last?.pack === extent.pack && last.end === extent.byte) last.end += length;
    else runs.push({ pack: extent.pack, begin: extent.byte, end: extent.byte + length });
  }
  return runs;
}

/** The layout-independent digest of the whole state, from the stored bytes. */
export async function computeStateDigest(open: OpenCommit): Promise<string> {
  const digests: string[] = [];
  for (const section of open.schema.sections) {
    for (const [kind, dtype] of storedKinds(section)) {
      digests.push(
        ...(await blockDigests(open, section, { kind, size: DTYPE_BYTES.get(dtype) ?? 0 })),
      );
    }
  }
  for (const tensor of open.schema.aux) {
    const entry = open.contents.aux.find(
      (aux) => aux.fqn === tensor.fqn && aux.kind === tensor.kind,
    );
    const pack = open.packs[entry?.pack ?? -1];
    if (entry === undefined || pack === undefined) throw new Error(`no aux tensor ${tensor.fqn}`);
    digests.push(sha256(await readVerified(open.store, pack, entry.begin, entry.end)));
  }
  return combineDigests(open.record.schema.sha256, digests, sha256);
}

async function blockDigests(
  open: OpenCommit,
  section: Section,
  { kind, size }: { readonly kind: string; readonly size: number },
): Promise<readonly string[]> {
  const digests: string[] = [];
  const blockBytes = open.schema.block_elems * size;
  let hash = createHash("sha256");
  let held = 0;
  for await (const piece of flatBytes(open, section, kind)) {
    for (let at = 0; at < piece.length; ) {
      const stop = Math.min(piece.length, at + blockBytes - held);
      hash.update(piece.subarray(at, stop));
      held += stop - at;
      at = stop;
      if (held === blockBytes) {
        digests.push(hash.digest("hex"));
        hash = createHash("sha256");
        held = 0;
      }
    }
  }
  if (held > 0) digests.push(hash.digest("hex"));
  return digests;
}
