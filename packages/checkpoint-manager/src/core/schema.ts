import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { z } from "zod";
import { canonicalJson, isObject, parseCanonical } from "./canonical-json.ts";
import { DTYPE_BYTES, elementsOf } from "./pack-header.ts";
import { count, knownVersion, shaped } from "./sealed.ts";
import { type Checked, refuse } from "./swc-problem.ts";

/** The AdamW job stores these three per element, all fp32; the compute copy is a cast of `master`. */
export const ADAMW_KINDS = ["exp_avg", "exp_avg_sq", "master"] as const;
/** Plain AdamW updates elements one by one; cuts inside a block are legal for quantised kinds only from here. */
const QUANTUM_ELEMENTS = 256;

/** One tensor of the flat space, as the trainer reports it. */
export interface LayoutTensor {
  readonly fqn: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const kindFacts = z.object({
  dtype: z.string().refine((dtype) => DTYPE_BYTES.has(dtype), "unknown dtype"),
  numel: z.literal("same").default("same"),
  derived: z.unknown().optional(),
});
const sectionShape = z.object({
  id: count,
  numel: count,
  first_block: count,
  blocks: count,
  quantum: count.min(1),
  optimizer: z.string(),
  kinds: z.record(z.string().regex(/^[a-z0-9_]+$/), kindFacts),
});
const tensorShape = z.object({
  fqn: z.string().min(1),
  shape: z.array(count),
  section: count,
  start: count,
  group: count.default(0),
  aliases: z.array(z.string()).default([]),
});
const auxShape = z.object({
  fqn: z.string().min(1),
  shape: z.array(count),
  dtype: z.string(),
  kind: z.string().regex(/^[a-z0-9_]+$/),
});
const schemaShape = z.object({
  swc: z.literal(SWC_VERSION),
  order: z.string(),
  block_elems: count.min(1),
  sections: z.array(sectionShape).min(1),
  tensors: z.array(tensorShape),
  aux: z.array(auxShape).default([]),
});

/** The tensor table of a run: which tensors stand where, in which kinds. */
export type Schema = z.infer<typeof schemaShape>;
export type Section = Schema["sections"][number];
export type SchemaTensor = Schema["tensors"][number];

/** Canonical JSON of the table of an AdamW job with fp32 masters: one section, blocks of `blockElements`. */
export function schemaText(tensors: readonly LayoutTensor[], blockElements: number): string {
  const numel = tensors.at(-1)?.end ?? 0;
  const kinds = Object.fromEntries(
    ADAMW_KINDS.map((kind) => [kind, { dtype: "F32", numel: "same" }]),
  );
  return canonicalJson({
    swc: SWC_VERSION,
    order: "swc-order-1",
    block_elems: blockElements,
    requires: [],
    sections: [
      {
        id: 0,
        numel,
        first_block: 0,
        blocks: Math.ceil(numel / blockElements),
        quantum: Math.min(QUANTUM_ELEMENTS, blockElements),
        optimizer: "adamw",
        kinds,
      },
    ],
    tensors: tensors.map(({ fqn, shape, begin }) => ({
      fqn,
      shape: [...shape],
      section: 0,
      start: begin,
      group: 0,
      aliases: [],
    })),
    aux: [],
    frozen: [],
  });
}

/** Parses a table whose digest was checked; every section must be tiled by its tensors in order. */
export function parseSchema(path: string, text: string): Checked<Schema> {
  const parsed = parseCanonical(text);
  if (!parsed.ok) return refuse("SWC_BAD_RECORD", `${path}: ${parsed.why}`);
  if (!isObject(parsed.value)) return refuse("SWC_BAD_RECORD", `${path}: not a JSON object`);
  const known = knownVersion(path, parsed.value);
  if (!known.ok) return known;
  const schema = shaped(path, known.value, schemaShape);
  if (!schema.ok) return schema;
  const wrong = notTiled(schema.value);
  return wrong === null ? schema : refuse("SWC_BAD_RECORD", `${path}: ${wrong}`);
}

/** Kinds of a section that are stored, with their dtype, in bytewise order; derived kinds are recomputed. */
export function storedKinds(section: Section): readonly (readonly [string, string])[] {
  return Object.entries(section.kinds)
    .filter(([, facts]) => facts.derived === undefined)
    .map(([kind, facts]) => [kind, facts.dtype] as const)
    .sort(([one], [other]) => (one < other ? -1 : 1));
}

/** Stored bytes of the whole trainable space. */
export function stateBytes(schema: Schema): number {
  return schema.sections.reduce(
    (sum, section) =>
      sum +
      section.numel *
        storedKinds(section).reduce((bytes, [, dtype]) => bytes + (DTYPE_BYTES.get(dtype) ?? 0), 0),
    0,
  );
}

function notTiled(schema: Schema): string | null {
  if (new Set(schema.tensors.map((tensor) => tensor.fqn)).size !== schema.tensors.length) {
    return "a tensor is named twice";
  }
  let block = 0;
  for (const [index, section] of schema.sections.entries()) {
    let at = 0;
    for (const tensor of schema.tensors.filter((tensor) => tensor.section === section.id)) {
      if (tensor.start !== at)
        return `${tensor.fqn} starts at element ${tensor.start}, expected ${at}`;
      at += elementsOf(tensor.shape);
    }
    if (at !== section.numel)
      return `section ${section.id} has ${section.numel} elements, its tensors ${at}`;
    const blocks = Math.ceil(section.numel / schema.block_elems);
    if (section.id !== index || section.first_block !== block || section.blocks !== blocks) {
      return `section ${section.id} does not start at block ${block} with ${blocks} blocks`;
    }
    block += blocks;
  }
  return null;
}
