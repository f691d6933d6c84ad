// Writes packs as the trainer's agents do, in TypeScript, so that checkpoints can be made without Python.

import { canonicalJson } from "../../packages/checkpoint-manager/src/core/canonical-json.ts";
import { dataFolder } from "../../packages/checkpoint-manager/src/core/commit-key.ts";
import { crc32c } from "../../packages/checkpoint-manager/src/core/crc32c.ts";
import { elementsOf } from "../../packages/checkpoint-manager/src/core/pack-header.ts";
import type { Prepared } from "../../packages/checkpoint-manager/src/core/save.ts";
import type { SaveMarker } from "../../packages/checkpoint-manager/src/core/save-marker.ts";
import { ADAMW_KINDS, type Schema } from "../../packages/checkpoint-manager/src/core/schema.ts";
import { seal } from "../../packages/checkpoint-manager/src/core/sealed.ts";
import type { CheckpointStore } from "../../packages/checkpoint-manager/src/ports.ts";
import { sha256 } from "../../packages/checkpoint-manager/src/sha256.ts";

/** Bits of element i of a kind; packages/trainer/tests/files_write_save.py computes the same. */
export function stateBits(kind: string, element: number, salt: number): number {
  const number = (ADAMW_KINDS as readonly string[]).indexOf(kind);
  return (Math.imul(element, 2654435761) + number * 40503 + salt) >>> 0;
}

/** Little-endian bytes of elements [begin, end) of a kind. */
export function stateBytes(kind: string, begin: number, end: number, salt: number): Uint8Array {
  const words = Uint32Array.from({ length: end - begin }, (_, index) =>
    stateBits(kind, begin + index, salt),
  );
  return new Uint8Array(words.buffer);
}

export interface WriteOrder {
  readonly schema: Schema;
  readonly marker: SaveMarker;
  readonly writer: number;
  readonly incarnation?: number;
  /** Block numbers the writer owns, ascending. */
  readonly blocks: readonly number[];
  readonly crcBlock: number;
  readonly salt: number;
  /** Bytes of elements [begin, end) of a kind; stateBytes with the salt when absent. */
  readonly bytesOf?: (kind: string, begin: number, end: number) => Uint8Array;
}

/** Writes one writer's pack, CRC list and manifest; returns what it would report. */
export async function writeShard(store: CheckpointStore, order: WriteOrder): Promise<Prepared> {
  const { marker, writer, incarnation = 0, crcBlock } = order;
  const folder = `data/${dataFolder(marker, marker.save_id)}`;
  const stem = `w${String(writer).padStart(5, "0")}.${String(incarnation).padStart(3, "0")}`;
  const pack = packBytes(order);
  const checks = crcBytes(pack.bytes, crcBlock);
  const file = {
    path: `${stem}-00.safetensors`,
    bytes: pack.bytes.length,
    header_bytes: pack.headerBytes,
    sha256: sha256(pack.bytes),
    crc: { alg: "crc32c", block: crcBlock, path: `${stem}-00.crc`, sha256: sha256(checks) },
  };
  const manifest = Buffer.from(
    seal(
      {
        swc: 1,
        writer,
        inc: incarnation,
        save_id: marker.save_id,
        step: marker.step,
        generation: marker.generation,
        schema: marker.plan.schema.sha256,
        files: [file],
        entries_sha256: sha256(pack.bytes.subarray(8, pack.headerBytes)),
        block_digests: blockDigests(order),
      },
      sha256,
    ),
  );
  await store.create(`${folder}/${file.path}`, pack.bytes);
  await store.create(`${folder}/${file.crc.path}`, checks);
  await store.create(`${folder}/${stem}.json`, manifest);
  return {
    writer,
    incarnation,
    manifestPath: `${stem}.json`,
    manifestSha256: sha256(manifest),
    bytes: file.bytes,
  };
}

function bounds(schema: Schema, block: number): [number, number] {
  const numel = schema.sections[0]?.numel ?? 0;
  return [block * schema.block_elems, Math.min((block + 1) * schema.block_elems, numel)];
}

/** Neighbouring blocks as element ranges. */
function ranges(schema: Schema, blocks: readonly number[]): [number, number][] {
  const joined: [number, number][] = [];
  for (const block of blocks) {
    const [begin, end] = bounds(schema, block);
    const last = joined.at(-1);
    if (last !== undefined && last[1] === begin) last[1] = end;
    else joined.push([begin, end]);
  }
  return joined;
}

function bytesOf(order: WriteOrder, kind: string, begin: number, end: number): Uint8Array {
  return order.bytesOf?.(kind, begin, end) ?? stateBytes(kind, begin, end, order.salt);
}

function packBytes(order: WriteOrder): {
  bytes: Uint8Array;
  headerBytes: number;
} {
  const { schema, marker, blocks, crcBlock } = order;
  const entries: [string, number, Uint8Array][] = [];
  for (const kind of ADAMW_KINDS) {
    for (const [begin, end] of ranges(schema, blocks)) {
      for (const tensor of schema.tensors) {
        const from = Math.max(begin, tensor.start);
        const to = Math.min(end, tensor.start + elementsOf(tensor.shape));
        if (from >= to) continue;
        entries.push([
          `${kind}/${tensor.fqn}@${from - tensor.start}`,
          to - from,
          bytesOf(order, kind, from, to),
        ]);
      }
    }
  }
  const note = canonicalJson({ v: 1, schema: marker.plan.schema.sha256, space: "trainable" });
  const table: Record<string, unknown> = { __metadata__: { swc: note } };
  let at = 0;
  for (const [name, count, data] of entries) {
    table[name] = { dtype: "F32", shape: [count], data_offsets: [at, at + data.length] };
    at += data.length;
  }
  return withHeader(
    JSON.stringify(table),
    entries.map(([, , data]) => data),
    Math.max(4096, crcBlock),
  );
}

/** A safetensors file of any header text: also of hostile ones. */
export function withHeader(
  text: string,
  data: readonly Uint8Array[],
  align: number,
): { bytes: Uint8Array; headerBytes: number } {
  const json = Buffer.from(text);
  const headerBytes = Math.ceil((8 + json.length) / align) * align;
  const head = Buffer.alloc(headerBytes, 0x20);
  head.writeBigUInt64LE(BigInt(headerBytes - 8));
  json.copy(head, 8);
  return { bytes: new Uint8Array(Buffer.concat([head, ...data])), headerBytes };
}

function crcBytes(bytes: Uint8Array, block: number): Uint8Array {
  const checks = Buffer.alloc(4 * Math.ceil(bytes.length / block));
  for (let at = 0; at < bytes.length; at += block) {
    checks.writeUInt32LE(crc32c(bytes, at, Math.min(at + block, bytes.length)), (4 * at) / block);
  }
  return new Uint8Array(checks);
}

function blockDigests(
  order: WriteOrder,
): { kind: string; section: number; first_block: number; sha256: string[] }[] {
  const { schema, blocks } = order;
  return ADAMW_KINDS.flatMap((kind) =>
    blocks.map((block) => ({
      kind,
      section: 0,
      first_block: block,
      sha256: [sha256(bytesOf(order, kind, ...bounds(schema, block))).slice("sha256:".length)],
    })),
  );
}
