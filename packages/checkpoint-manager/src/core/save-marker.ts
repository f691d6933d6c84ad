import { SAVE_TRIGGERS, SWC_VERSION } from "@shardwright/job/checkpoint";
import { z } from "zod";
import type { JsonObject } from "./canonical-json.ts";
import type { SaveName } from "./commit-key.ts";
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
import type { Checked } from "./swc-problem.ts";

const planShape = z.object({
  job: z.string(),
  trigger: z.enum(SAVE_TRIGGERS),
  schema: z.object({ path: relativePath, sha256: sha256Name, tensors: count }),
  world: z.object({ size: count, dp: count, tp: count, pp: count, zero: count }),
  layout: z.object({
    type: z.literal("blocks"),
    block_map_sha256: sha256Name,
    runs: z.array(z.tuple([count, count, count])),
  }),
  writers: z.array(count),
  keep_last: count,
  facts: z.record(z.string(), z.json()),
});
const markerShape = z.object({
  save_id: z.uuid(),
  run: z.string(),
  step: count,
  generation: count,
  try: count,
  parents: z.array(commitKeyText),
  deadline: z.string(),
  created: z.string(),
  plan: planShape,
});

/**
 * save.json: a save began. `plan` is what the commit record will say besides the writers, so that whoever
 * finds the folder after a crash can decide the save without asking anybody.
 */
export type SaveMarker = z.infer<typeof markerShape>;
export type SavePlan = SaveMarker["plan"];

/** Stored bytes of the marker. */
export function markerText(marker: SaveMarker, sha256: Sha256): string {
  return seal({ swc: SWC_VERSION, ...(marker as unknown as JsonObject) }, sha256);
}

/** Parses save.json. */
export function parseMarker(path: string, text: string, sha256: Sha256): Checked<SaveMarker> {
  const unsealed = unseal(path, text, sha256);
  return unsealed.ok ? shaped(path, unsealed.value, markerShape) : unsealed;
}

/** The marker's save as a name. */
export function saveOf(marker: SaveMarker): SaveName {
  return { step: marker.step, generation: marker.generation, try: marker.try };
}
