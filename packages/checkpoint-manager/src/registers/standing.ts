import type { Created } from "../ports.ts";

/** Compares what stands at a path with what was to be created there. */
export function sameOrTaken(standing: Uint8Array, bytes: Uint8Array): Created {
  const same =
    standing.length === bytes.length && standing.every((byte, index) => byte === bytes[index]);
  return same ? { outcome: "same" } : { outcome: "taken", standing };
}
