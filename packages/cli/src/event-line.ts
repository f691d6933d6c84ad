import type { Event } from "@shardwright/proto/gen/shardwright/v1/event";

/** An event as one line: the journal's own sentence, `rank 2 lost (killed) → generation 8, 3 ranks, 0 steps lost`. */
export function eventLine(event: Event): string {
  const { code, sentence } = event.reason ?? { code: "", sentence: "" };
  return event.severity === "warning" ? `warning: ${sentence} (${code})` : sentence || code;
}
