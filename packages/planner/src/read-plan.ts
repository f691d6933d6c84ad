/** Which byte ranges of a checkpoint each rank reads to hold the blocks of a map, whatever map wrote them. */
import type { Complaint } from "@shardwright/job";
import { type Extent, extentsOf, type PackHeader } from "./pack-extents.ts";
import type { BlockMap, FlatLayout } from "./parallel-plan.ts";

/** Two slices this close are read in one request: a seek costs more than 64 KiB of transfer. */
export const COALESCE_GAP_BYTES = 65_536;
/** Longest single read: what one buffer of a reader holds. A multiple of every legal checksum unit. */
export const READ_BYTES_MAX = 64 * 2 ** 20;

export interface ReadRequest {
  readonly packs: readonly PackHeader[];
  readonly layout: FlatLayout;
  readonly map: BlockMap;
  /** Kinds to restore, such as master, exp_avg, exp_avg_sq. */
  readonly kinds: readonly string[];
  readonly ranks: number;
}

/** `bytes` bytes at `offset` of the file belong at `blockOffset` of the kind's buffer of that block. */
export interface ReadSlice {
  readonly offset: number;
  readonly bytes: number;
  readonly kind: string;
  readonly block: number;
  readonly blockOffset: number;
}

/** Bytes [begin, end) of a file: whole checksum units, so that all of them can be verified before use. */
export interface ReadRange {
  readonly file: string;
  readonly begin: number;
  readonly end: number;
  readonly slices: readonly ReadSlice[];
}

export type ReadOutcome =
  | {
      readonly possible: true;
      /** For each rank its ranges, by file as listed in the request and by offset. */
      readonly byRank: readonly (readonly ReadRange[])[];
    }
  | { readonly possible: false; readonly complaints: readonly Complaint[] };

/**
 * The read plan of a resume. Each rank reads what it holds, replicas included, and each byte of a file at most once;
 * its slices are its blocks exactly once. Deterministic.
 */
export function planReads(request: ReadRequest): ReadOutcome {
  const reading = extentsOf(request.packs, request.layout, request.kinds);
  if (!reading.ok) return { possible: false, complaints: reading.complaints };
  const slices = request.kinds.flatMap((kind) =>
    slicesOf(kind, reading.byKind.get(kind) ?? [], request),
  );
  const byPack = Map.groupBy(slices, (one) => one.pack);
  const byRank = Array.from({ length: request.ranks }, (_, rank) =>
    request.packs.flatMap((pack, index) => {
      const wanted = (byPack.get(index) ?? []).filter((one) => one.holders.includes(rank));
      return rangesOf(
        pack,
        wanted.map(({ slice }) => slice),
      );
    }),
  );
  return { possible: true, byRank };
}

interface HeldSlice {
  readonly pack: number;
  readonly holders: readonly number[];
  readonly slice: ReadSlice;
}

/** Every extent of a kind cut at block borders, with the holders of the block. Both lists are in flat order. */
function slicesOf(kind: string, extents: readonly Extent[], { map }: ReadRequest): HeldSlice[] {
  const slices: HeldSlice[] = [];
  let at = 0;
  for (const extent of extents) {
    let flat = extent.flatBegin;
    while (flat < extent.flatEnd) {
      const block = Math.floor(flat / map.blockElements);
      while (block >= endOf(map, at)) at++;
      const end = Math.min(extent.flatEnd, (block + 1) * map.blockElements);
      const slice: ReadSlice = {
        offset: extent.fileBegin + (flat - extent.flatBegin) * extent.elementBytes,
        bytes: (end - flat) * extent.elementBytes,
        kind,
        block,
        blockOffset: (flat - block * map.blockElements) * extent.elementBytes,
      };
      slices.push({ pack: extent.pack, holders: map.runs[at]?.holders ?? [], slice });
      flat = end;
    }
  }
  return slices;
}

function endOf(map: BlockMap, run: number): number {
  const { firstBlock, blocks } = map.runs[run] ?? { firstBlock: map.blocks, blocks: 1 };
  return firstBlock + blocks;
}

interface OpenRange {
  begin: number;
  end: number;
  readonly slices: ReadSlice[];
}

/** Ranges of one file: near slices together, rounded out to checksum units, none longer than a buffer. */
function rangesOf(pack: PackHeader, slices: ReadSlice[]): ReadRange[] {
  const ranges: OpenRange[] = [];
  for (const slice of slices.sort((a, b) => a.offset - b.offset)) {
    const begin = Math.floor(slice.offset / pack.crcBlock) * pack.crcBlock;
    const sliceEnd = slice.offset + slice.bytes;
    const end = Math.min(Math.ceil(sliceEnd / pack.crcBlock) * pack.crcBlock, pack.bytes);
    const last = ranges.at(-1);
    const previous = last?.slices.at(-1);
    const gap = previous === undefined ? 0 : slice.offset - (previous.offset + previous.bytes);
    // Units of two far slices can still touch: then they are one range, or a byte would be read twice.
    if (last !== undefined && (gap <= COALESCE_GAP_BYTES || begin <= last.end)) {
      last.end = Math.max(last.end, end);
      last.slices.push(slice);
    } else ranges.push({ begin, end, slices: [slice] });
  }
  return ranges.flatMap((range) => pieces(pack.file, range));
}

/** Cuts a range into reads of at most READ_BYTES_MAX; a slice across a cut becomes two. */
function pieces(file: string, range: OpenRange): ReadRange[] {
  const reads: ReadRange[] = [];
  let next = 0;
  for (let begin = range.begin; begin < range.end; begin += READ_BYTES_MAX) {
    const end = Math.min(begin + READ_BYTES_MAX, range.end);
    const slices: ReadSlice[] = [];
    for (; next < range.slices.length; next++) {
      const slice = range.slices[next];
      if (slice === undefined || slice.offset >= end) break;
      slices.push(within(slice, begin, end));
      if (slice.offset + slice.bytes > end) break;
    }
    reads.push({ file, begin, end, slices });
  }
  return reads;
}

function within(slice: ReadSlice, begin: number, end: number): ReadSlice {
  const from = Math.max(slice.offset, begin);
  const to = Math.min(slice.offset + slice.bytes, end);
  const blockOffset = slice.blockOffset + (from - slice.offset);
  return { ...slice, offset: from, bytes: to - from, blockOffset };
}
