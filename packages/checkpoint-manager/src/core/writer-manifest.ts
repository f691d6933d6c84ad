import { z } from "zod";
import { count, relativePath, type Sha256, sha256Name, shaped, unseal } from "./sealed.ts";
import { type Checked, refuse } from "./swc-problem.ts";

/** CRC blocks are a power of two from 4 KiB to 16 MiB. */
const crcBlock = count
  .min(4096)
  .max(16 * 1024 * 1024)
  .refine((size) => (size & (size - 1)) === 0);

const fileShape = z.object({
  /** Folder under data/ of an older save that holds the file; absent: this save's own. */
  from: z
    .string()
    .regex(/^[0-9a-f-]+$/)
    .optional(),
  path: relativePath,
  bytes: count,
  header_bytes: count.min(8),
  sha256: sha256Name,
  crc: z.object({
    alg: z.literal("crc32c"),
    block: crcBlock,
    path: relativePath,
    sha256: sha256Name,
  }),
});
const digestShape = z.object({
  kind: z.string(),
  section: count,
  first_block: count,
  sha256: z.array(z.string().regex(/^[0-9a-f]{64}$/)),
});
const manifestShape = z.object({
  writer: count,
  inc: count,
  save_id: z.string(),
  step: count,
  generation: count,
  schema: sha256Name,
  files: z.array(fileShape),
  entries_sha256: sha256Name,
  block_digests: z.array(digestShape).default([]),
});

/** Which files one writer made, with every digest that the commit rests on. */
export type WriterManifest = z.infer<typeof manifestShape>;
export type ManifestFile = WriterManifest["files"][number];
export type BlockDigests = WriterManifest["block_digests"][number];

/** What a manifest must agree with. */
export interface ExpectedManifest {
  readonly writer: number;
  readonly saveId: string;
  readonly step: number;
  readonly generation: number;
  readonly schemaSha256: string;
}

/** Parses a manifest and refuses one of another save, writer or schema: shards are never mixed. */
export function parseManifest(
  path: string,
  text: string,
  expected: ExpectedManifest,
  sha256: Sha256,
): Checked<WriterManifest> {
  const unsealed = unseal(path, text, sha256);
  if (!unsealed.ok) return unsealed;
  const manifest = shaped(path, unsealed.value, manifestShape);
  if (!manifest.ok) return manifest;
  const { writer, save_id, step, generation, schema } = manifest.value;
  const pairs = [
    ["writer", writer, expected.writer],
    ["save_id", save_id, expected.saveId],
    ["step", step, expected.step],
    ["generation", generation, expected.generation],
    ["schema", schema, expected.schemaSha256],
  ] as const;
  const other = pairs.find(([, found, wanted]) => found !== wanted);
  if (other === undefined) return manifest;
  return refuse(
    "SWC_BAD_RECORD",
    `${path}: ${other[0]} is ${other[1]}, the record says ${other[2]}`,
  );
}

/** File name of a writer's manifest. */
export function manifestName(writer: number, incarnation: number): string {
  return `w${String(writer).padStart(5, "0")}.${String(incarnation).padStart(3, "0")}.json`;
}

/** Writer and incarnation of a manifest's file name, or null. */
export function parseManifestName(
  name: string,
): { readonly writer: number; readonly incarnation: number } | null {
  const match = /^w(\d{5,})\.(\d{3,})\.json$/.exec(name);
  return match === null ? null : { writer: Number(match[1]), incarnation: Number(match[2]) };
}
