/** A short name for a text, for finding duplicates. Not for security. */

const SEED_A = 0xdeadbeef;
const SEED_B = 0x41c6ce57;

/** 64 bits of two multiplicative hashes: one false alarm in 10^6 examples has a chance of 3 in 10^8. */
export function fingerprintOf(text: string): string {
  let a = SEED_A;
  let b = SEED_B;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 2654435761);
    b = Math.imul(b ^ unit, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (b >>> 0).toString(36) + (a >>> 0).toString(36).padStart(7, "0");
}
