import { isObject, parseCanonical } from "./canonical-json.ts";
import { DTYPE_BYTES, elementsOf, type PackEntry, type PackHeader } from "./pack-header.ts";
import type { Schema, SchemaTensor } from "./schema.ts";
import { type Checked, refuse } from "./swc-problem.ts";

/** One pack of a checkpoint, its header verified. */
export interface Pack {
  /** Relative to the run. */
  readonly path: string;
  readonly writer: number;
  readonly header: PackHeader;
}

/** Elements [begin, end) of a section in one kind, stored from `byte` of a pack. */
export interface Extent {
  readonly section: number;
  readonly kind: string;
  readonly begin: number;
  readonly end: number;
  /** Index into the packs. */
  readonly pack: number;
  readonly byte: number;
  readonly elementBytes: number;
  readonly tensor: SchemaTensor;
}

/** A whole tensor of the aux space. */
export interface AuxEntry {
  readonly kind: string;
  readonly fqn: string;
  readonly pack: number;
  readonly begin: number;
  readonly end: number;
}

export interface Contents {
  readonly extents: readonly Extent[];
  readonly aux: readonly AuxEntry[];
}

const NAME = /^([a-z0-9_]+)\/(.+)@(0|[1-9]\d{0,15})$/s;

/** What the packs hold, in terms of the schema. The headers are the only truth about extents. */
export function contentsOf(
  schema: Schema,
  schemaSha256: string,
  packs: readonly Pack[],
): Checked<Contents> {
  const tensors = new Map(schema.tensors.map((tensor) => [tensor.fqn, tensor]));
  const extents: Extent[] = [];
  const aux: AuxEntry[] = [];
  for (const [index, pack] of packs.entries()) {
    const space = spaceOf(pack.header, schemaSha256);
    if (space === null)
      return bad(pack, 'its metadata is not one key "swc" that names this schema');
    for (const entry of pack.header.entries) {
      const place = { schema, tensors, pack, index };
      const found = space === "aux" ? auxEntry(place, entry) : extent(place, entry);
      if (!found.ok) return found;
      if ("tensor" in found.value) extents.push(found.value);
      else aux.push(found.value);
    }
  }
  return { ok: true, value: { extents, aux } };
}

/** Kind, name and first element of an entry: parted at the first "/" and the last "@". */
export function parseEntryName(name: string): { kind: string; fqn: string; first: number } | null {
  const [kind, fqn, first] = NAME.exec(name)?.slice(1) ?? [];
  return kind === undefined || fqn === undefined ? null : { kind, fqn, first: Number(first) };
}

interface Place {
  readonly schema: Schema;
  readonly tensors: ReadonlyMap<string, SchemaTensor>;
  readonly pack: Pack;
  readonly index: number;
}

function extent(place: Place, entry: PackEntry): Checked<Extent> {
  const { schema, pack } = place;
  const named = parseEntryName(entry.name);
  if (named === null) return bad(pack, `"${entry.name}" is not kind/name@element`);
  const tensor = place.tensors.get(named.fqn);
  const facts =
    tensor === undefined ? undefined : schema.sections[tensor.section]?.kinds[named.kind];
  if (tensor === undefined || facts === undefined || facts.derived !== undefined) {
    return bad(pack, `"${entry.name}" is not stored by the schema`);
  }
  const [length] = entry.shape;
  const fits = length !== undefined && named.first + length <= elementsOf(tensor.shape);
  if (entry.shape.length !== 1 || !fits || entry.dtype !== facts.dtype) {
    const has = `${entry.dtype}[${entry.shape}]`;
    return bad(pack, `"${entry.name}" is ${has}, the schema has ${facts.dtype}[${tensor.shape}]`);
  }
  const begin = tensor.start + named.first;
  return {
    ok: true,
    value: {
      section: tensor.section,
      kind: named.kind,
      begin,
      end: begin + length,
      pack: place.index,
      byte: entry.begin,
      elementBytes: DTYPE_BYTES.get(entry.dtype) ?? 0,
      tensor,
    },
  };
}

function auxEntry({ schema, pack, index }: Place, entry: PackEntry): Checked<AuxEntry> {
  const named = parseEntryName(entry.name);
  const tensor = schema.aux.find((aux) => aux.fqn === named?.fqn && aux.kind === named.kind);
  if (named === null || tensor === undefined)
    return bad(pack, `"${entry.name}" is not in the schema`);
  const whole =
    named.first === 0 && entry.shape.length === 1 && entry.shape[0] === elementsOf(tensor.shape);
  if (!whole || entry.dtype !== tensor.dtype) {
    return bad(
      pack,
      `"${entry.name}" is ${entry.dtype}[${entry.shape}], the schema has ${tensor.dtype}[${tensor.shape}]`,
    );
  }
  return {
    ok: true,
    value: { kind: named.kind, fqn: named.fqn, pack: index, begin: entry.begin, end: entry.end },
  };
}

function spaceOf(header: PackHeader, schemaSha256: string): "trainable" | "aux" | null {
  const text = header.metadata.size === 1 ? header.metadata.get("swc") : undefined;
  const parsed = text === undefined ? null : parseCanonical(text);
  if (parsed?.ok !== true || !isObject(parsed.value)) return null;
  const { v, schema, space } = parsed.value;
  if (v !== 1 || schema !== schemaSha256) return null;
  return space === "trainable" || space === "aux" ? space : null;
}

function bad(pack: Pack, why: string): ReturnType<typeof refuse> {
  return refuse("SWC_BAD_HEADER", `${pack.path}: safetensors header invalid: ${why}`);
}
