import type { FileHandle } from "node:fs/promises";

/** What planning needs of a GGUF file, in the words of a Hugging Face config.json. */
export type GgufReading =
  | { readonly ok: true; readonly config: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly problem: string };

// Metadata holds the whole vocabulary: some megabytes; beyond this it is not a model.
const METADATA_BYTES_MAX = 64 * 1024 * 1024;
const ENTRIES_MAX = 10_000;
const READ_BYTES = 1024 * 1024;
const MAGIC = 0x46554747; // "GGUF", little endian

/** GGUF value types by their number; arrays and strings are read by length. */
const SCALARS: readonly ({ readonly bytes: number; read(bytes: Buffer): number } | undefined)[] = [
  { bytes: 1, read: (bytes) => bytes.readUInt8() },
  { bytes: 1, read: (bytes) => bytes.readInt8() },
  { bytes: 2, read: (bytes) => bytes.readUInt16LE() },
  { bytes: 2, read: (bytes) => bytes.readInt16LE() },
  { bytes: 4, read: (bytes) => bytes.readUInt32LE() },
  { bytes: 4, read: (bytes) => bytes.readInt32LE() },
  { bytes: 4, read: (bytes) => bytes.readFloatLE() },
  { bytes: 1, read: (bytes) => bytes.readUInt8() },
  undefined,
  undefined,
  { bytes: 8, read: (bytes) => Number(bytes.readBigUInt64LE()) },
  { bytes: 8, read: (bytes) => Number(bytes.readBigInt64LE()) },
  { bytes: 8, read: (bytes) => bytes.readDoubleLE() },
];
const STRING = 8;
const ARRAY = 9;

/** Reads the metadata of a GGUF file (versions 2 and 3) with bounded memory; its tensors are only named. */
export async function readGguf(file: FileHandle): Promise<GgufReading> {
  try {
    const source = new Source(file);
    if ((await source.take(4)).readUInt32LE() !== MAGIC) return refuse("is not a GGUF file");
    const version = (await source.take(4)).readUInt32LE();
    if (version !== 2 && version !== 3)
      return refuse(`is GGUF version ${version}; 2 and 3 are known`);
    const tensors = await source.count();
    const entries = await source.count();
    if (entries > ENTRIES_MAX) return refuse(`has ${entries} metadata entries`);
    const metadata = new Map<string, unknown>();
    for (let i = 0; i < entries; i++) {
      const key = await source.text();
      metadata.set(key, await readValue(source, (await source.take(4)).readUInt32LE()));
    }
    const names = new Set<string>();
    for (let i = 0; i < Math.min(tensors, ENTRIES_MAX); i++) names.add(await tensorName(source));
    const { size } = await file.stat();
    if (source.offset > size) return refuse(`is truncated: it ends at byte ${size}`);
    return { ok: true, config: configFrom(metadata, names) };
  } catch (reason) {
    if (reason instanceof Truncated) return refuse(reason.message);
    throw reason;
  }
}

function refuse(problem: string): GgufReading {
  return { ok: false, problem };
}

class Truncated extends Error {}

/** A value; of an array only its length, as `{length}`. */
async function readValue(source: Source, type: number): Promise<unknown> {
  const scalar = SCALARS[type];
  if (scalar !== undefined) return scalar.read(await source.take(scalar.bytes));
  if (type === STRING) return await source.text();
  if (type !== ARRAY) throw new Truncated(`has a metadata value of unknown type ${type}`);
  const itemType = (await source.take(4)).readUInt32LE();
  const length = await source.count();
  const item = SCALARS[itemType];
  if (item !== undefined) await source.skip(item.bytes * length);
  else if (itemType === STRING)
    for (let i = 0; i < length; i++) await source.skip(await source.count());
  else throw new Truncated(`has a metadata array of unsupported type ${itemType}`);
  return { length };
}

async function tensorName(source: Source): Promise<string> {
  const name = await source.text();
  const dimensions = (await source.take(4)).readUInt32LE();
  await source.skip(dimensions * 8 + 4 + 8); // lengths, type, offset
  return name;
}

/** The names that Hugging Face's configuration has for the same facts. */
function configFrom(
  metadata: ReadonlyMap<string, unknown>,
  tensors: ReadonlySet<string>,
): Readonly<Record<string, unknown>> {
  const architecture = String(metadata.get("general.architecture") ?? "");
  const get = (key: string): unknown => metadata.get(`${architecture}.${key}`);
  const tokens = metadata.get("tokenizer.ggml.tokens") as { length: number } | undefined;
  const isTied = !tensors.has("output.weight");
  if (architecture === "gpt2") {
    return {
      model_type: architecture,
      n_layer: get("block_count"),
      n_embd: get("embedding_length"),
      n_head: get("attention.head_count"),
      n_inner: get("feed_forward_length"),
      n_positions: get("context_length"),
      vocab_size: tokens?.length,
      tie_word_embeddings: isTied,
    };
  }
  return {
    model_type: architecture,
    num_hidden_layers: get("block_count"),
    hidden_size: get("embedding_length"),
    intermediate_size: get("feed_forward_length"),
    num_attention_heads: get("attention.head_count"),
    num_key_value_heads: get("attention.head_count_kv"),
    head_dim: get("attention.key_length") ?? null,
    max_position_embeddings: get("context_length"),
    vocab_size: get("vocab_size") ?? tokens?.length,
    tie_word_embeddings: isTied,
    attn_logit_softcapping: get("attn_logit_softcapping") ?? null,
    sliding_window: get("attention.sliding_window") ?? null,
  };
}

/** The file from its start, in pieces, up to a limit. */
class Source {
  private readonly file: FileHandle;
  private buffer = Buffer.alloc(0);
  private position = 0;
  private taken = 0;

  constructor(file: FileHandle) {
    this.file = file;
  }

  /** Bytes taken or skipped so far; skipping does not look whether they are there. */
  get offset(): number {
    return this.taken;
  }

  async take(bytes: number): Promise<Buffer> {
    this.charge(bytes);
    while (this.buffer.length < bytes) {
      const piece = Buffer.alloc(Math.max(READ_BYTES, bytes - this.buffer.length));
      const { bytesRead } = await this.file.read(piece, 0, piece.length, this.position);
      if (bytesRead === 0)
        throw new Truncated(`is truncated: its metadata ends at byte ${this.position}`);
      this.position += bytesRead;
      this.buffer = Buffer.concat([this.buffer, piece.subarray(0, bytesRead)]);
    }
    const result = this.buffer.subarray(0, bytes);
    this.buffer = this.buffer.subarray(bytes);
    return result;
  }

  async skip(bytes: number): Promise<void> {
    if (bytes <= this.buffer.length) {
      this.charge(bytes);
      this.buffer = this.buffer.subarray(bytes);
      return;
    }
    this.charge(bytes);
    this.position += bytes - this.buffer.length;
    this.buffer = Buffer.alloc(0);
  }

  async count(): Promise<number> {
    const count = (await this.take(8)).readBigUInt64LE();
    if (count > BigInt(METADATA_BYTES_MAX)) throw new Truncated(`is broken: it counts to ${count}`);
    return Number(count);
  }

  async text(): Promise<string> {
    return (await this.take(await this.count())).toString("utf8");
  }

  private charge(bytes: number): void {
    this.taken += bytes;
    if (this.taken > METADATA_BYTES_MAX) {
      throw new Truncated(`has more than ${METADATA_BYTES_MAX} bytes of metadata`);
    }
  }
}
