import type { AuxEntry, Contents, Extent } from "./extents.ts";
import { elementsOf } from "./pack-header.ts";
import { type Schema, type Section, storedKinds } from "./schema.ts";
import type { Problem } from "./swc-problem.ts";

/** Enough to see the pattern of what is missing; one lost pack may otherwise make thousands. */
export const COVERAGE_PROBLEMS_MAX = 20;

/**
 * The proof that a set of packs is a whole checkpoint: in each section every stored kind is tiled exactly
 * once, without gap or overlap, cut inside a tensor only at multiples of the quantum; every aux tensor is
 * there exactly once. Returns what is wrong, nothing when it holds.
 */
export function proveCoverage(schema: Schema, contents: Contents): readonly Problem[] {
  const problems = schema.sections.flatMap((section) =>
    storedKinds(section).flatMap(([kind]) =>
      tiles(schema, section, kind, extentsOf(contents, section, kind)),
    ),
  );
  return [...problems, ...auxOnce(schema, contents.aux)].slice(0, COVERAGE_PROBLEMS_MAX);
}

/** Extents of one kind of a section in flat order. */
export function extentsOf(contents: Contents, section: Section, kind: string): readonly Extent[] {
  return contents.extents
    .filter(
      (extent) =>
        extent.section === section.id && extent.kind === kind && extent.end > extent.begin,
    )
    .sort((one, other) => one.begin - other.begin || one.end - other.end);
}

function tiles(
  schema: Schema,
  section: Section,
  kind: string,
  extents: readonly Extent[],
): readonly Problem[] {
  const problems: Problem[] = [];
  const report = (what: string, begin: number, end: number): void => {
    problems.push(problem(schema, { section, kind, what, begin, end }));
  };
  let at = 0;
  for (const extent of extents) {
    if (extent.begin > at) report("gap", at, extent.begin);
    if (extent.begin < at) report("overlap", extent.begin, Math.min(at, extent.end));
    if (!legalCut(section, extent)) report("cut between quanta", extent.begin, extent.end);
    at = Math.max(at, extent.end);
  }
  if (at < section.numel) report("gap", at, section.numel);
  if (at > section.numel) report("overlap", section.numel, at); // with what lies beyond the section
  return problems;
}

/** A tensor's own borders are always legal. */
function legalCut(section: Section, extent: Extent): boolean {
  const { start, shape } = extent.tensor;
  const legal = (at: number): boolean =>
    at === start || at === start + elementsOf(shape) || at % section.quantum === 0;
  return legal(extent.begin) && legal(extent.end);
}

interface Span {
  readonly section: Section;
  readonly kind: string;
  readonly what: string;
  readonly begin: number;
  readonly end: number;
}

function problem(schema: Schema, { section, kind, what, begin, end }: Span): Problem {
  const block = section.first_block + Math.floor(begin / schema.block_elems);
  const fqn = schema.tensors
    .filter((tensor) => tensor.section === section.id && tensor.start <= begin)
    .findLast((tensor) => elementsOf(tensor.shape) > 0)?.fqn;
  const sentence = `section ${section.id} kind ${kind}: ${what} at elements ${begin}..${end} (block ${block}, ${fqn})`;
  return { code: "SWC_COVERAGE", sentence };
}

function auxOnce(schema: Schema, aux: readonly AuxEntry[]): readonly Problem[] {
  return schema.aux.flatMap((tensor) => {
    const times = aux.filter(
      (entry) => entry.fqn === tensor.fqn && entry.kind === tensor.kind,
    ).length;
    if (times === 1) return [];
    return [
      {
        code: "SWC_COVERAGE",
        sentence: `aux ${tensor.kind}/${tensor.fqn}: stored ${times} times`,
      } as const,
    ];
  });
}
