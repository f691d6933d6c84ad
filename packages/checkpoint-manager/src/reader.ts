import {
  type CommitRecord,
  parseRegister,
  type Register,
  registerPath,
} from "./core/commit-record.ts";
import { proveCoverage } from "./core/coverage.ts";
import { crc32c, crcHex } from "./core/crc32c.ts";
import { type Contents, contentsOf, type Pack } from "./core/extents.ts";
import {
  HEADER_BYTES_MAX,
  headerLength,
  type PackHeader,
  parsePackHeader,
} from "./core/pack-header.ts";
import { parseSchema, type Schema } from "./core/schema.ts";
import { RECORD_BYTES_MAX, SCHEMA_BYTES_MAX } from "./core/sealed.ts";
import type { Checked } from "./core/swc-problem.ts";
import { type ManifestFile, parseManifest, type WriterManifest } from "./core/writer-manifest.ts";
import { Damage, sound } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";
import { sha256 } from "./sha256.ts";
import { decodeText, readExactly, readText, readWhole } from "./stored-file.ts";

/** A pack whose header and CRC list are verified; its data is verified whenever it is read. */
export interface OpenPack extends Pack {
  readonly bytes: number;
  readonly sha256: string;
  readonly crcBlock: number;
  readonly checks: Uint32Array;
  /** The N header bytes, for the manifest's digest of them. */
  readonly headerText: Uint8Array;
}

/** A committed checkpoint, opened and proven whole; `store` is that of the run. */
export interface OpenCommit {
  readonly store: CheckpointStore;
  readonly record: CommitRecord;
  readonly schema: Schema;
  readonly manifests: readonly WriterManifest[];
  readonly packs: readonly OpenPack[];
  readonly contents: Contents;
}

/** Opens a committed checkpoint of a run. Throws Damage naming the file; nothing is believed unverified. */
export async function openCommit(store: CheckpointStore, key: string): Promise<OpenCommit> {
  // 1. The register: is there a checkpoint at all?
  const register = await readRegister(store, key);
  if (register === null) throw Damage.of("SWC_MISSING_FILE", `${registerPath(key)}: missing`);
  const record = committedOf(key, sound(register));
  // 2. What it consists of.
  const schema = await readSchema(store, record.schema);
  const parts = await openWriters(store, record, record.writers);
  const packs = parts.flatMap((part) => part.packs);
  // 3. Is it whole?
  const contents = sound(contentsOf(schema, record.schema.sha256, packs));
  const [problem] = proveCoverage(schema, contents);
  if (problem !== undefined) throw new Damage(problem);
  return { store, record, schema, manifests: parts.map((part) => part.manifest), packs, contents };
}

/** The register of a save, null while it is undecided. */
export async function readRegister(
  store: CheckpointStore,
  key: string,
): Promise<Checked<Register> | null> {
  const path = registerPath(key);
  if ((await store.size(path)) === null) return null;
  try {
    return parseRegister(key, await readText(store, path, RECORD_BYTES_MAX), sha256);
  } catch (reason) {
    if (reason instanceof Damage) return { ok: false, problem: reason.problem };
    throw reason;
  }
}

/** The tensor table, by its digest. */
export async function readSchema(
  store: CheckpointStore,
  ref: { readonly path: string; readonly sha256: string },
): Promise<Schema> {
  const bytes = await readWhole(store, ref.path, SCHEMA_BYTES_MAX);
  sameDigest(ref.path, sha256(bytes), ref.sha256);
  return sound(parseSchema(ref.path, decodeText(ref.path, bytes)));
}

/** What a manifest must belong to. */
export interface SaveIdentity {
  readonly save_id: string;
  readonly step: number;
  readonly generation: number;
  readonly schema: { readonly sha256: string };
}

/** Files open at once while many writers are read; far below any limit of descriptors. */
const WRITERS_AT_ONCE = 16;

/** All writers' manifests and packs, in order. */
export async function openWriters(
  store: CheckpointStore,
  save: SaveIdentity,
  writers: readonly WriterRef[],
): Promise<readonly OpenWriter[]> {
  const opened: OpenWriter[] = [];
  for (let first = 0; first < writers.length; first += WRITERS_AT_ONCE) {
    const batch = writers.slice(first, first + WRITERS_AT_ONCE);
    opened.push(...(await Promise.all(batch.map((writer) => openWriter(store, save, writer)))));
  }
  return opened;
}

/** Which manifest to open: its path in the run and the digest that whoever names it vouches for. */
export interface WriterRef {
  readonly id: number;
  readonly manifest: string;
  readonly sha256: string;
}

export interface OpenWriter {
  readonly manifest: WriterManifest;
  readonly packs: readonly OpenPack[];
}

/** One writer's manifest and packs, headers verified. */
export async function openWriter(
  store: CheckpointStore,
  save: SaveIdentity,
  writer: WriterRef,
): Promise<OpenWriter> {
  const path = writer.manifest;
  const bytes = await readWhole(store, path, RECORD_BYTES_MAX);
  sameDigest(path, sha256(bytes), writer.sha256);
  const expected = {
    writer: writer.id,
    saveId: save.save_id,
    step: save.step,
    generation: save.generation,
    schemaSha256: save.schema.sha256,
  };
  const manifest = sound(parseManifest(path, decodeText(path, bytes), expected, sha256));
  const own = path.slice(0, path.lastIndexOf("/"));
  const packs: OpenPack[] = [];
  for (const file of manifest.files) {
    const folder = file.from === undefined ? own : `data/${file.from}`;
    packs.push(await openPack(store, folder, { file, writer: writer.id }));
  }
  sameDigest(
    path,
    sha256(Buffer.concat(packs.map((pack) => pack.headerText))),
    manifest.entries_sha256,
  );
  return { manifest, packs };
}

async function openPack(
  store: CheckpointStore,
  folder: string,
  { file, writer }: { readonly file: ManifestFile; readonly writer: number },
): Promise<OpenPack> {
  const path = `${folder}/${file.path}`;
  const size = await store.size(path);
  if (size === null) throw Damage.of("SWC_MISSING_FILE", `${path}: missing (writer ${writer})`);
  if (size !== file.bytes) {
    throw Damage.of("SWC_SIZE_MISMATCH", `${path}: ${size} bytes, manifest says ${file.bytes}`);
  }
  const checks = await readChecks(
    store,
    { path, crcPath: `${folder}/${file.crc.path}`, size },
    file,
  );
  const unread: PackHeader = { dataBegin: file.header_bytes, entries: [], metadata: new Map() };
  const bare = { path, writer, bytes: size, sha256: file.sha256, crcBlock: file.crc.block, checks };
  const pack = { ...bare, header: unread, headerText: new Uint8Array() };
  return { ...pack, ...(await readHeader(store, pack)) };
}

async function readChecks(
  store: CheckpointStore,
  {
    path,
    crcPath,
    size,
  }: { readonly path: string; readonly crcPath: string; readonly size: number },
  { crc }: ManifestFile,
): Promise<Uint32Array> {
  const expected = 4 * Math.ceil(size / crc.block);
  const bytes = await readWhole(store, crcPath, expected);
  if (bytes.length !== expected) {
    const covered = Math.floor(bytes.length / 4) * crc.block;
    const sentence = `${path}: no checksum for bytes ${covered}..${size}; treated as corrupt`;
    throw Damage.of("SWC_MISSING_CHECKSUM", sentence);
  }
  sameDigest(crcPath, sha256(bytes), crc.sha256);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint32Array.from({ length: expected / 4 }, (_, index) => view.getUint32(4 * index, true));
}

/** The header's CRC blocks are checked first: no length is believed that no checksum covers. */
async function readHeader(
  store: CheckpointStore,
  pack: OpenPack,
): Promise<{ readonly header: PackHeader; readonly headerText: Uint8Array }> {
  const { path, bytes: size } = pack;
  const { dataBegin } = pack.header;
  const bad = (why: string): Damage =>
    Damage.of("SWC_BAD_HEADER", `${path}: safetensors header invalid: ${why}`);
  if (dataBegin > Math.min(HEADER_BYTES_MAX + 8, size))
    throw bad(`${dataBegin} bytes in a file of ${size}`);
  const bytes = await readVerified(store, pack, 0, dataBegin);
  const length = headerLength(bytes.subarray(0, 8), size);
  if (typeof length !== "number") throw bad(length.why);
  if (length + 8 !== dataBegin) throw bad(`${length + 8} bytes, manifest says ${dataBegin}`);
  const headerText = bytes.subarray(8);
  const parsed = parsePackHeader(decodeText(path, headerText), length, size);
  if (!parsed.ok) throw bad(parsed.why);
  return { header: parsed.header, headerText };
}

/** Bytes [begin, end) of a pack: whole CRC blocks are read and every one is checked before a byte is returned. */
export async function readVerified(
  store: CheckpointStore,
  pack: OpenPack,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  const first = Math.floor(begin / pack.crcBlock) * pack.crcBlock;
  const last = Math.min(Math.ceil(end / pack.crcBlock) * pack.crcBlock, pack.bytes);
  const bytes = await readExactly(store, pack.path, first, last);
  checkBlocks(pack, first, bytes);
  return bytes.subarray(begin - first, end - first);
}

/** Checks the CRC blocks of bytes that start at `first`, a border of CRC blocks. */
export function checkBlocks(pack: OpenPack, first: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += pack.crcBlock) {
    const stop = Math.min(at + pack.crcBlock, bytes.length);
    const index = (first + at) / pack.crcBlock;
    const found = crc32c(bytes, at, stop);
    const expected = pack.checks[index];
    if (found === expected) continue;
    const span = `bytes ${first + at}..${first + stop}`;
    const sentence = `${pack.path}: CRC block ${index} (${span}): crc32c ${crcHex(found)}, expected ${crcHex(expected ?? 0)}; affects ${affected(pack, first + at, first + stop)}`;
    throw Damage.of("SWC_CORRUPT_BLOCK", sentence);
  }
}

function affected(pack: Pack, begin: number, end: number): string {
  const [name, ...more] = pack.header.entries
    .filter((entry) => entry.begin < end && entry.end > begin)
    .map((entry) => entry.name);
  if (name === undefined) return "the header";
  return more.length === 0 ? name : `${name} and ${more.length} more`;
}

function committedOf(key: string, register: Register): CommitRecord {
  if (register.status === "committed") return register;
  throw Damage.of(
    "SWC_NO_CHECKPOINT",
    `${registerPath(key)}: this save was aborted: ${register.reason}`,
  );
}

function sameDigest(path: string, found: string, expected: string): void {
  if (found !== expected)
    throw Damage.of("SWC_CORRUPT_FILE", `${path}: sha256 ${found}, expected ${expected}`);
}
