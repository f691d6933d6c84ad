/** What the packs of a checkpoint hold, in the order of the flat space, proven to cover it. */
import type { Complaint } from "@shardwright/job";
import type { FlatLayout } from "./parallel-plan.ts";

/** One entry of a pack's safetensors header. */
export interface PackEntry {
  /** `master`, `exp_avg`, `exp_avg_sq`, …; an open string. */
  readonly kind: string;
  readonly fqn: string;
  /** First element inside the tensor, and how many. */
  readonly elementBegin: number;
  readonly elements: number;
  /** Absolute offset in the file. */
  readonly begin: number;
  readonly elementBytes: number;
}

export interface PackHeader {
  /** Path relative to the run, as the manifest names it. */
  readonly file: string;
  readonly bytes: number;
  /** Bytes of one checksum unit. */
  readonly crcBlock: number;
  readonly entries: readonly PackEntry[];
}

/** Elements [flatBegin, flatEnd) of one kind, stored contiguously in a file from `fileBegin` on. */
export interface Extent {
  readonly pack: number;
  readonly flatBegin: number;
  readonly flatEnd: number;
  readonly fileBegin: number;
  readonly elementBytes: number;
}

export type ExtentReading =
  | { readonly ok: true; readonly byKind: ReadonlyMap<string, readonly Extent[]> }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

/**
 * Extents of the wanted kinds in flat order. Every element of every kind must be stored exactly once: a gap, an
 * overlap, an unknown tensor or an entry that leaves its tensor or its file is a complaint. Other kinds are ignored.
 */
export function extentsOf(
  packs: readonly PackHeader[],
  layout: FlatLayout,
  kinds: readonly string[],
): ExtentReading {
  const complaints: Complaint[] = [];
  const tensors = new Map(layout.tensors.map((tensor) => [tensor.fqn, tensor]));
  const byKind = new Map<string, Extent[]>(kinds.map((kind) => [kind, []]));
  for (const [pack, header] of packs.entries()) {
    for (const entry of header.entries) {
      const extents = byKind.get(entry.kind);
      if (extents === undefined) continue;
      const path = `${header.file}: ${entry.kind}/${entry.fqn}@${entry.elementBegin}`;
      const tensor = tensors.get(entry.fqn);
      if (tensor === undefined) {
        complaints.push({ path, problem: "is no trainable tensor of this job" });
        continue;
      }
      const flatBegin = tensor.begin + entry.elementBegin;
      const flatEnd = flatBegin + entry.elements;
      const { begin: fileBegin, elementBytes } = entry;
      if (flatEnd > tensor.end || fileBegin + entry.elements * elementBytes > header.bytes) {
        complaints.push({
          path,
          problem: `${entry.elements} elements leave the tensor or the file`,
        });
        continue;
      }
      extents.push({ pack, flatBegin, flatEnd, fileBegin, elementBytes });
    }
  }
  for (const [kind, extents] of byKind) {
    extents.sort((a, b) => a.flatBegin - b.flatBegin || a.flatEnd - b.flatEnd);
    complaints.push(...holesIn(kind, extents, layout.elements));
  }
  return complaints.length > 0 ? { ok: false, complaints } : { ok: true, byKind };
}

/** Gaps and overlaps of extents sorted by begin, over [0, elements). */
function holesIn(kind: string, extents: readonly Extent[], elements: number): Complaint[] {
  const complaints: Complaint[] = [];
  const tell = (what: string, from: number, to: number): void => {
    if (from < to) complaints.push({ path: kind, problem: `${what} at elements ${from}..${to}` });
  };
  let covered = 0;
  for (const { flatBegin, flatEnd } of extents) {
    tell("gap", covered, flatBegin);
    tell("overlap", flatBegin, Math.min(covered, flatEnd));
    covered = Math.max(covered, flatEnd);
  }
  tell("gap", covered, elements);
  return complaints;
}
