import { createHash } from "node:crypto";
import { liveOf } from "./core/state.ts";
import type { JobHistory, JobRecord } from "./ports.ts";

/** SHA-256 over the ids of the consumed examples in (step, lane, position) order, int64 little-endian; hex. */
export async function consumedSha256(history: JobHistory, record: JobRecord): Promise<string> {
  const digest = createHash("sha256");
  const step = liveOf(record.state)?.facts?.totalSteps ?? 0;
  for await (const ids of history.consumed(record.uid, step)) {
    const bytes = Buffer.alloc(ids.length * 8);
    ids.forEach((id, index) => {
      bytes.writeBigInt64LE(BigInt(id), index * 8);
    });
    digest.update(bytes);
  }
  return digest.digest("hex");
}
