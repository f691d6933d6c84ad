import { digestBytes } from "./commit-record.ts";
import { type Schema, stateBytes, storedKinds } from "./schema.ts";
import type { Sha256 } from "./sealed.ts";
import type { BlockDigests } from "./writer-manifest.ts";

/** Up to this much state the writers digest every block; above, the digest is made on request only. */
export const STATE_DIGEST_BYTES_MAX = 4 * 1024 ** 3;
/** Keeps a manifest below half of its size limit; the same rule in the trainer's writer_manifest.py. */
export const STATE_DIGEST_BLOCKS_MAX = 100_000;

/** Whether writers of this schema send block digests: a rule on the whole state, so that all of them agree. */
export function hasStateDigest(schema: Schema): boolean {
  const blocks = schema.sections.reduce(
    (sum, section) => sum + section.blocks * storedKinds(section).length,
    0,
  );
  return stateBytes(schema) <= STATE_DIGEST_BYTES_MAX && blocks <= STATE_DIGEST_BLOCKS_MAX;
}

/**
 * One digest of the whole state that does not depend on world size, writers or block map: SHA-256 over the
 * schema's digest, then per section, kind (bytewise) and block the block's SHA-256, then each aux tensor's.
 * Null when a block's digest is absent or claimed twice.
 */
export function stateDigest(
  schema: Schema,
  schemaSha256: string,
  claims: readonly BlockDigests[],
  sha256: Sha256,
): string | null {
  if (schema.aux.length > 0) return null; // writers digest blocks only; a verifier computes the rest
  const byPlace = digestsByPlace(claims);
  const found = placesOf(schema).map((place) => byPlace?.get(place));
  const digests = found.filter((digest) => digest !== undefined);
  if (digests.length < found.length) return null;
  return combineDigests(schemaSha256, digests, sha256);
}

/** Digest of each block by its place, or null when two writers claim one. */
function digestsByPlace(claims: readonly BlockDigests[]): ReadonlyMap<string, string> | null {
  const byPlace = new Map<string, string>();
  for (const claim of claims) {
    for (const [index, digest] of claim.sha256.entries()) {
      const place = placeName(claim.section, claim.kind, claim.first_block + index);
      if (byPlace.has(place)) return null;
      byPlace.set(place, digest);
    }
  }
  return byPlace;
}

/** Every block of every stored kind in digest order. */
function placesOf(schema: Schema): readonly string[] {
  return schema.sections.flatMap((section) =>
    storedKinds(section).flatMap(([kind]) =>
      Array.from({ length: section.blocks }, (_, block) =>
        placeName(section.id, kind, section.first_block + block),
      ),
    ),
  );
}

function placeName(section: number, kind: string, block: number): string {
  return `${section}/${kind}/${block}`;
}

/** SHA-256 of the schema's digest followed by the others. */
export function combineDigests(
  schemaSha256: string,
  digests: readonly string[],
  sha256: Sha256,
): string {
  const bytes = new Uint8Array(32 * (digests.length + 1));
  bytes.set(digestBytes(schemaSha256));
  for (const [index, digest] of digests.entries()) bytes.set(digestBytes(digest), 32 * (index + 1));
  return sha256(bytes);
}
