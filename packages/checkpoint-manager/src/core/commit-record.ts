import { SAVE_TRIGGERS, SWC_VERSION } from "@shardwright/job/checkpoint";
import { z } from "zod";
import type { Json, JsonObject } from "./canonical-json.ts";
import { commitKey } from "./commit-key.ts";
import type { SaveMarker } from "./save-marker.ts";
import {
  commitKeyText,
  count,
  relativePath,
  type Sha256,
  seal,
  sha256Name,
  shaped,
  unseal,
} from "./sealed.ts";
import { type Checked, refuse } from "./swc-problem.ts";

const writerShape = z.object({
  id: count,
  manifest: relativePath,
  sha256: sha256Name,
  bytes: count,
});
const committedShape = z.object({
  status: z.literal("committed"),
  run: z.string(),
  job: z.string(),
  step: count,
  generation: count,
  try: count,
  save_id: z.string(),
  parents: z.array(commitKeyText),
  created: z.string(),
  trigger: z.enum(SAVE_TRIGGERS),
  schema: z.object({ path: relativePath, sha256: sha256Name, tensors: count }),
  world: z.object({ size: count }).loose(),
  writers: z.array(writerShape),
  merkle: sha256Name,
  state_digest: sha256Name.nullable(),
});
const abortedShape = z.object({
  status: z.literal("aborted"),
  run: z.string(),
  step: count,
  generation: count,
  try: count,
  save_id: z.string(),
  reason: z.string(),
  detail: z.string(),
  by_generation: count,
  created: z.string(),
});

/** The record that makes a checkpoint exist; `raw` keeps every field, also those of a newer writer. */
export type CommitRecord = z.infer<typeof committedShape> & { readonly raw: JsonObject };
export type AbortRecord = z.infer<typeof abortedShape>;
export type WriterEntry = z.infer<typeof writerShape>;
export type Register = CommitRecord | AbortRecord;

/** What a commit is made of, besides the start marker. */
export interface CommitFacts {
  readonly writers: readonly WriterEntry[];
  readonly merkle: string;
  readonly stateDigest: string | null;
}

/** Where the register of a save stands. */
export function registerPath(key: string): string {
  return `commits/${key}.json`;
}

/**
 * Stored bytes of a commit record. `created` is the marker's time, not the clock's: whoever decides this save,
 * and however often, writes the same bytes, so a repeated write is recognised as our own.
 */
export function commitRecordText(marker: SaveMarker, facts: CommitFacts, sha256: Sha256): string {
  const { plan } = marker;
  const said = plan.facts as Record<string, Json>;
  return seal(
    {
      // What the job says of itself; it cannot overwrite what the checkpoint-manager proves.
      optimizer: { class: "adamw", step: marker.step, groups: [], stateless_params: [] },
      external: [],
      train: {},
      rng: {},
      lora: null,
      metrics: {},
      env: {},
      ...said,
      swc: SWC_VERSION,
      status: "committed",
      requires: [],
      run: marker.run,
      job: plan.job,
      step: marker.step,
      generation: marker.generation,
      try: marker.try,
      save_id: marker.save_id,
      parents: marker.parents,
      created: marker.created,
      trigger: plan.trigger,
      schema: plan.schema,
      world: plan.world,
      layout: plan.layout,
      writers: facts.writers.map((writer) => ({ ...writer })),
      merkle: facts.merkle,
      state_digest: facts.stateDigest,
    },
    sha256,
  );
}

/** Stored bytes of the record that decides a save as not a checkpoint. */
export function abortRecordText(
  marker: Pick<SaveMarker, "run" | "step" | "generation" | "try" | "save_id">,
  why: {
    readonly reason: string;
    readonly detail: string;
    readonly byGeneration: number;
    readonly created: string;
  },
  sha256: Sha256,
): string {
  const { run, step, generation, save_id } = marker;
  const { reason, detail, created } = why;
  return seal(
    {
      swc: SWC_VERSION,
      status: "aborted",
      run,
      step,
      generation,
      try: marker.try,
      save_id,
      reason,
      detail,
      by_generation: why.byGeneration,
      created,
    },
    sha256,
  );
}

/** Parses a register; an unreadable one is decided all the same, as neither a checkpoint nor free. */
export function parseRegister(key: string, text: string, sha256: Sha256): Checked<Register> {
  const path = registerPath(key);
  const unsealed = unseal(path, text, sha256);
  if (!unsealed.ok) return unsealed;
  const raw = unsealed.value;
  const parsed: Checked<Register> =
    raw["status"] === "aborted" ? shaped(path, raw, abortedShape) : committed(path, raw);
  if (!parsed.ok) return parsed;
  const own = commitKey(parsed.value);
  if (own !== key) return refuse("SWC_BAD_RECORD", `${path}: the record is that of ${own}`);
  return parsed;
}

function committed(path: string, raw: JsonObject): Checked<CommitRecord> {
  const record = shaped(path, raw, committedShape);
  return record.ok ? { ok: true, value: { ...record.value, raw } } : record;
}

/** SHA-256 over the pack digests in bytewise path order: one name for the content. */
export function merkleOf(
  packs: readonly { readonly path: string; readonly sha256: string }[],
  sha256: Sha256,
): string {
  const sorted = [...packs].sort((one, other) => (one.path < other.path ? -1 : 1));
  const bytes = new Uint8Array(32 * sorted.length);
  for (const [index, pack] of sorted.entries()) bytes.set(digestBytes(pack.sha256), 32 * index);
  return sha256(bytes);
}

/** The 32 bytes of "sha256:<hex>" or of bare hex. */
export function digestBytes(digest: string): Uint8Array {
  const hex = digest.replace(/^sha256:/, "");
  return Uint8Array.from({ length: hex.length / 2 }, (_, index) =>
    Number.parseInt(hex.slice(2 * index, 2 * index + 2), 16),
  );
}
