/** Machine output. Pure text; the caller writes it. */

/** Two-space JSON with a final line break; 64-bit integers are written as numbers. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, plain, 2)}\n`;
}

/** A list as kubectl writes it. */
export function list(items: readonly unknown[]): { kind: "List"; items: readonly unknown[] } {
  return { kind: "List", items };
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  // Nothing of ours counts that far; a silently rounded number would be a lie.
  return Number.isSafeInteger(number) ? number : value.toString();
}
