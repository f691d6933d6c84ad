import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { proveCoverage } from "./coverage.ts";
import type { Contents, Extent } from "./extents.ts";
import { ADAMW_KINDS, parseSchema, type Schema, schemaText } from "./schema.ts";

const BLOCK = 16;

/** Tensors of these sizes, one after the other. */
function schemaOf(sizes: readonly number[]): Schema {
  let at = 0;
  const tensors = sizes.map((size, index) => {
    const begin = at;
    at += size;
    return { fqn: `t${index}`, shape: [size], begin, end: at };
  });
  const parsed = parseSchema("schema", schemaText(tensors, BLOCK));
  if (!parsed.ok) throw new Error(parsed.problem.sentence);
  return parsed.value;
}

/** Whole blocks split at tensor borders: what writers make, whoever owns which block. */
function tilesOf(schema: Schema): Extent[] {
  const numel = schema.sections[0]?.numel ?? 0;
  return ADAMW_KINDS.flatMap((kind) =>
    schema.tensors.flatMap((tensor) => {
      const [begin, end] = [tensor.start, tensor.start + (tensor.shape[0] ?? 0)];
      const cuts = [begin, end];
      for (let cut = Math.ceil((begin + 1) / BLOCK) * BLOCK; cut < end; cut += BLOCK)
        cuts.push(cut);
      cuts.sort((one, other) => one - other);
      return cuts.slice(1).flatMap((stop, index): Extent[] => {
        const from = cuts[index] ?? 0;
        if (from === stop || stop > numel) return [];
        return [
          { section: 0, kind, begin: from, end: stop, pack: 0, byte: 0, elementBytes: 4, tensor },
        ];
      });
    }),
  );
}

const sizes = fc
  .array(fc.integer({ min: 0, max: 70 }), { minLength: 1, maxLength: 6 })
  .filter((all) => all.some((size) => size > 0));
const contents = (extents: readonly Extent[]): Contents => ({ extents, aux: [] });

describe("the coverage proof", () => {
  it("holds for whole tilings in any order", () => {
    fc.assert(
      fc.property(sizes, fc.infiniteStream(fc.nat()), (all, draws) => {
        const schema = schemaOf(all);
        const extents = tilesOf(schema)
          .map((extent) => ({ extent, order: draws.next().value ?? 0 }))
          .sort((one, other) => one.order - other.order)
          .map(({ extent }) => extent);
        expect(proveCoverage(schema, contents(extents))).toEqual([]);
      }),
    );
  });

  // Each line is a way to be wrong that a lost, doubled, shortened or shifted shard makes.
  const WRONG: readonly [string, (extent: Extent) => readonly Extent[]][] = [
    ["one lost", () => []],
    ["one doubled", (extent) => [extent, extent]],
    [
      "one too short",
      (extent) => (extent.end - extent.begin < 2 ? [] : [{ ...extent, end: extent.end - 1 }]),
    ],
    ["one too long", (extent) => [{ ...extent, end: extent.end + 1 }]],
    ["one moved", (extent) => [{ ...extent, begin: extent.begin + 1, end: extent.end + 1 }]],
    [
      "one of another kind",
      (extent) => [{ ...extent, kind: extent.kind === "master" ? "exp_avg" : "master" }],
    ],
    [
      "one cut between quanta",
      (extent) => {
        const middle = extent.begin + 1;
        if (extent.end - extent.begin < 3 || middle % BLOCK === 0) return [];
        return [
          { ...extent, end: middle },
          { ...extent, begin: middle },
        ];
      },
    ],
  ];

  it.each(WRONG)("fails with %s", (_, change) => {
    fc.assert(
      fc.property(sizes, fc.nat(), (all, draw) => {
        const schema = schemaOf(all);
        const extents = tilesOf(schema);
        const at = draw % extents.length;
        const bent = extents.flatMap((extent, index) => (index === at ? change(extent) : [extent]));
        const problems = proveCoverage(schema, contents(bent));
        expect(problems.length).toBeGreaterThan(0);
        expect(problems[0]?.sentence).toMatch(
          /^section 0 kind \w+: (gap|overlap|cut between quanta) at elements \d+\.\.\d+ \(block \d+, t\d\)$/,
        );
      }),
    );
  });

  it("asks for every aux tensor exactly once", () => {
    const aux = [{ fqn: "inv_freq", shape: [4], dtype: "F32", kind: "buffer" }];
    const schema = { ...schemaOf([20]), aux };
    const entry = { kind: "buffer", fqn: "inv_freq", pack: 0, begin: 0, end: 16 };
    const extents = tilesOf(schema);
    expect(proveCoverage(schema, { extents, aux: [entry] })).toEqual([]);
    expect(proveCoverage(schema, { extents, aux: [] })).toHaveLength(1);
    expect(proveCoverage(schema, { extents, aux: [entry, entry] })).toHaveLength(1);
  });
});
