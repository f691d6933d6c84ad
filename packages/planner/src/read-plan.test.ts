import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mapBlocks } from "./block-map.ts";
import type { PackEntry, PackHeader } from "./pack-extents.ts";
import type { BlockMap, FlatLayout } from "./parallel-plan.ts";
import { COALESCE_GAP_BYTES, planReads, READ_BYTES_MAX, type ReadRange } from "./read-plan.ts";

const KINDS = ["exp_avg", "exp_avg_sq", "master"];

function layoutOf(sizes: readonly number[]): FlatLayout {
  let begin = 0;
  const tensors = sizes.map((size, index) => {
    const tensor = { fqn: `layer.${index}.weight`, shape: [size], begin, end: begin + size };
    begin += size;
    return tensor;
  });
  return { tensors, elements: begin, fingerprint: "" };
}

const mapOf = (elements: number, blockElements: number, ranks: number, copies = 1): BlockMap =>
  mapBlocks({
    elements,
    blockElements,
    copies,
    ranks: Array.from({ length: ranks }, (_, rank) => ({
      rank,
      weight: 1,
      failureDomain: `n${rank}`,
    })),
  });

/** Packs as writers make them: one per owner, kind after kind, cut at tensors; data from `headerBytes` on. */
function packsOf(layout: FlatLayout, map: BlockMap, crcBlock: number): PackHeader[] {
  const owners = [...new Set(map.runs.map((run) => run.holders[0] ?? 0))].sort((a, b) => a - b);
  return owners.map((owner) => {
    let begin = Math.max(4096, crcBlock);
    const entries: PackEntry[] = [];
    for (const kind of KINDS) {
      for (const run of map.runs.filter(({ holders }) => holders[0] === owner)) {
        const from = run.firstBlock * map.blockElements;
        const to = Math.min((run.firstBlock + run.blocks) * map.blockElements, layout.elements);
        for (const tensor of layout.tensors) {
          const [lo, hi] = [Math.max(from, tensor.begin), Math.min(to, tensor.end)];
          if (lo >= hi) continue;
          const [elements, elementBegin] = [hi - lo, lo - tensor.begin];
          entries.push({ kind, fqn: tensor.fqn, elementBegin, elements, begin, elementBytes: 4 });
          begin += elements * 4;
        }
      }
    }
    return { file: `w${owner}.safetensors`, bytes: begin, crcBlock, entries };
  });
}

function checkRanges(packs: readonly PackHeader[], ranges: readonly ReadRange[]): void {
  ranges.forEach((range, index) => {
    const pack = packs.find((one) => one.file === range.file);
    expect(range.begin % (pack?.crcBlock ?? 1)).toBe(0);
    expect(range.end % (pack?.crcBlock ?? 1) === 0 || range.end === pack?.bytes).toBe(true);
    expect(range.end - range.begin).toBeLessThanOrEqual(READ_BYTES_MAX);
    const next = ranges[index + 1];
    if (next?.file === range.file) expect(next.begin).toBeGreaterThanOrEqual(range.end);
    for (const slice of range.slices) {
      expect(slice.offset).toBeGreaterThanOrEqual(range.begin);
      expect(slice.offset + slice.bytes).toBeLessThanOrEqual(range.end);
    }
  });
}

/** `kind:element` of everything a range delivers, by what the pack says is stored at each offset. */
function elementsOf(
  range: ReadRange,
  world: { packs: readonly PackHeader[]; layout: FlatLayout; map: BlockMap },
): string[] {
  const { packs, layout, map } = world;
  const entries = packs.find((pack) => pack.file === range.file)?.entries ?? [];
  return range.slices.flatMap((slice) =>
    Array.from({ length: slice.bytes / 4 }, (_, index) => {
      const offset = slice.offset + index * 4;
      const entry = entries.find(
        (one) => offset >= one.begin && offset < one.begin + one.elements * 4,
      );
      const begin = layout.tensors.find((tensor) => tensor.fqn === entry?.fqn)?.begin ?? -1;
      const stored = begin + (entry?.elementBegin ?? 0) + (offset - (entry?.begin ?? 0)) / 4;
      const target = slice.block * map.blockElements + slice.blockOffset / 4 + index;
      if (entry?.kind !== slice.kind || stored !== target)
        throw new Error("a wrong element arrived");
      return `${slice.kind}:${target}`;
    }),
  );
}

describe("planReads", () => {
  const worlds = fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 12 }),
    writers: fc.integer({ min: 1, max: 5 }),
    readers: fc.integer({ min: 1, max: 5 }),
    copies: fc.integer({ min: 1, max: 3 }),
    blockBits: fc.integer({ min: 8, max: 10 }),
  });

  it("gives each rank its blocks exactly once, from verified units, no byte twice", () => {
    fc.assert(
      fc.property(worlds, ({ sizes, writers, readers, copies, blockBits }) => {
        const layout = layoutOf(sizes);
        const blockElements = 2 ** blockBits;
        const packs = packsOf(layout, mapOf(layout.elements, blockElements, writers), 4096);
        const map = mapOf(layout.elements, blockElements, readers, copies);
        const request = { packs, layout, map, kinds: KINDS, ranks: readers };
        const outcome = planReads(request);
        expect(planReads(request)).toEqual(outcome);
        if (!outcome.possible) throw new Error(JSON.stringify(outcome.complaints));
        outcome.byRank.forEach((ranges, rank) => {
          checkRanges(packs, ranges);
          const arrived = ranges.flatMap((range) => elementsOf(range, request));
          const wanted = map.runs
            .filter((run) => run.holders.includes(rank))
            .flatMap((run) => {
              const begin = run.firstBlock * blockElements;
              const end = Math.min((run.firstBlock + run.blocks) * blockElements, layout.elements);
              const elements = Array.from({ length: end - begin }, (_, index) => begin + index);
              return KINDS.flatMap((kind) => elements.map((element) => `${kind}:${element}`));
            });
          expect(arrived.length).toBe(wanted.length);
          expect(new Set(arrived)).toEqual(new Set(wanted));
        });
      }),
      { numRuns: 25 },
    );
  });

  it("reads whole blocks of an equal map at 1.000 times what is needed", () => {
    const layout = layoutOf([1024 * 1024]);
    const map = mapOf(layout.elements, 65_536, 4);
    const packs = packsOf(layout, map, 65_536);
    const outcome = planReads({ packs, layout, map, kinds: KINDS, ranks: 4 });
    if (!outcome.possible) throw new Error("impossible");
    const bytes = outcome.byRank.flat().reduce((sum, range) => sum + range.end - range.begin, 0);
    expect(bytes).toBe(layout.elements * 12);
    for (const ranges of outcome.byRank) expect(ranges.length).toBe(1);
  });

  it("splits long reads at 64 MiB and cuts the slice that crosses", () => {
    const elements = (3 * READ_BYTES_MAX) / 8 + 5;
    const layout = layoutOf([elements]);
    const map = mapOf(elements, 2 ** 25, 1);
    const [pack] = packsOf(layout, map, 262_144);
    if (pack === undefined) throw new Error("no pack");
    const outcome = planReads({ packs: [pack], layout, map, kinds: ["exp_avg"], ranks: 1 });
    if (!outcome.possible) throw new Error("impossible");
    const [ranges = []] = outcome.byRank;
    expect(ranges.map((range) => range.end - range.begin)).toEqual([
      READ_BYTES_MAX,
      33_554_432 + 262_144,
    ]);
    const slices = ranges.flatMap((range) => range.slices);
    expect(slices.reduce((sum, slice) => sum + slice.bytes, 0)).toBe(elements * 4);
    expect(slices.map((slice) => slice.blockOffset)).toEqual([0, READ_BYTES_MAX]);
  });

  it("joins slices across small gaps and keeps far ones apart", () => {
    const layout = layoutOf([256 * 1024]);
    const map: BlockMap = {
      elements: layout.elements,
      blockElements: 4096,
      blocks: 64,
      runs: Array.from({ length: 64 }, (_, block) => ({
        firstBlock: block,
        blocks: 1,
        // Blocks of 16 KiB: rank 0 skips 2 blocks (32 KiB) in the first half, 10 (160 KiB) in the second.
        holders: [block % (block < 32 ? 3 : 11) === 0 ? 0 : 1],
      })),
    };
    const whole = mapOf(layout.elements, 4096, 1);
    const packs = packsOf(layout, whole, 4096);
    const outcome = planReads({ packs, layout, map, kinds: ["master"], ranks: 2 });
    if (!outcome.possible) throw new Error("impossible");
    const [ranges = []] = outcome.byRank;
    expect(ranges.map((range) => range.slices.length)).toEqual([12, 1, 1]);
    expect((ranges[1]?.begin ?? 0) - (ranges[0]?.end ?? 0)).toBeGreaterThan(COALESCE_GAP_BYTES);
  });

  it("names gaps, overlaps, strangers and entries that leave their tensor", () => {
    const layout = layoutOf([100, 50]);
    const map = mapOf(150, 256, 1);
    const entry = (fqn: string, elementBegin: number, elements: number): PackEntry => {
      return { kind: "master", fqn, elementBegin, elements, begin: 4096, elementBytes: 4 };
    };
    const entries = [
      entry("layer.0.weight", 0, 60),
      entry("layer.0.weight", 50, 40),
      entry("layer.1.weight", 20, 40),
      entry("layer.9.weight", 0, 1),
    ];
    const packs = [{ file: "w0.safetensors", bytes: 5000, crcBlock: 4096, entries }];
    const outcome = planReads({ packs, layout, map, kinds: ["master"], ranks: 1 });
    expect(outcome).toEqual({
      possible: false,
      complaints: [
        {
          path: "w0.safetensors: master/layer.1.weight@20",
          problem: "40 elements leave the tensor or the file",
        },
        {
          path: "w0.safetensors: master/layer.9.weight@0",
          problem: "is no trainable tensor of this job",
        },
        { path: "master", problem: "overlap at elements 50..60" },
        { path: "master", problem: "gap at elements 90..150" },
      ],
    });
  });
});
