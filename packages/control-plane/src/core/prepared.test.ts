import { mapBlocks, planTransfer, STATE_BYTES_PER_ELEMENT } from "@shardwright/planner";
import { describe, expect, it } from "vitest";
import type { Evidence } from "./events.ts";
import { evidenceFault } from "./prepared.ts";
import type { PreparedGeneration, Seat } from "./state.ts";

// Two ranks hold 16 blocks without copies; a third joins and takes its share.
const space = { elements: 16 * 8192, blockElements: 8192, copies: 1 };
const rank = (number: number) => ({ rank: number, weight: 1, failureDomain: `m-${number}` });
const previous = mapBlocks({ ...space, ranks: [0, 1].map(rank) });
const rankOf = (old: number): number => old;
const blockMap = mapBlocks({
  ...space,
  ranks: [0, 1, 2].map(rank),
  previous: { map: previous, rankOf },
});
const planned = planTransfer({
  previous,
  next: blockMap,
  rankOf,
  stateBytesPerElement: STATE_BYTES_PER_ELEMENT,
  sourceGeneration: 1,
  targetGeneration: 2,
});
if (!planned.possible) throw new Error("every block lives");
const transfer = planned.plan;
const seats = [0, 1, 2].map(
  (number): Seat => ({
    rank: number,
    member: `m-${number}`,
    slot: number,
    incarnation: 1,
    localRank: 0,
    pid: 10 + number,
  }),
);
const prepared: PreparedGeneration = {
  number: 2,
  seats,
  leavers: [],
  blockMap,
  lanes: [],
  source: { kind: "live", targetVersion: 5, transfer },
  step: 5,
  reason: { code: "MembershipChanged", sentence: "" },
  storePrefix: "u/g2",
  sinceMs: 0,
  ready: [],
};

const sum = (of: "sourceRank" | "targetRank", number: number): number =>
  transfer.moves.reduce((bytes, move) => (move[of] === number ? bytes + move.bytes : bytes), 0);
const owned = (number: number): number =>
  blockMap.runs.reduce((count, run) => count + (run.holders[0] === number ? run.blocks : 0), 0);

function evidenceOf(number: number, instead: Partial<Evidence> = {}): readonly Evidence[] {
  return [
    {
      rank: number,
      ownedBlocks: owned(number),
      replicaBlocks: 0,
      version: 5,
      sentBytes: sum("sourceRank", number),
      receivedBytes: sum("targetRank", number),
      ...instead,
    },
  ];
}

describe("evidence of a prepared generation", () => {
  it.each([0, 1, 2])("is taken when rank %i has and moved what the plan says", (number) => {
    expect(sum("targetRank", 2)).toBeGreaterThan(0);
    expect(evidenceFault(prepared, `m-${number}`, evidenceOf(number))).toBeNull();
  });

  it.each<[string, number, Partial<Evidence>]>([
    ["a block too few", 0, { ownedBlocks: owned(0) - 1 }],
    ["a replica nobody gave", 0, { replicaBlocks: 1 }],
    ["another step", 0, { version: 4 }],
    ["bytes sent that were not planned", 0, { sentBytes: sum("sourceRank", 0) + 12 }],
    ["bytes that did not arrive", 2, { receivedBytes: sum("targetRank", 2) - 12 }],
    ["bytes to a rank that needs none", 1, { receivedBytes: 12 }],
  ])("is refused for %s", (_, number, instead) => {
    const fault = evidenceFault(prepared, `m-${number}`, evidenceOf(number, instead));
    expect(fault).toMatchObject({ code: "EvidenceMismatch" });
    expect(fault?.sentence).toContain(`rank ${number} of m-${number}`);
  });

  it("expects from a snapshot in the agents' memory what its transfer plan says", () => {
    const resting: PreparedGeneration = {
      ...prepared,
      source: { kind: "snapshot", generation: 1, step: 5, transfer },
    };
    expect(evidenceFault(resting, "m-2", evidenceOf(2))).toBeNull();
    const still = { sentBytes: 0, receivedBytes: 0 };
    expect(evidenceFault(resting, "m-2", evidenceOf(2, still))?.code).toBe("EvidenceMismatch");
  });

  it("expects nothing to cross the wire from a checkpoint", () => {
    const restored: PreparedGeneration = {
      ...prepared,
      source: { kind: "checkpoint", commit: "c", directory: "d", step: 5 },
    };
    const still = { sentBytes: 0, receivedBytes: 0 };
    expect(evidenceFault(restored, "m-2", evidenceOf(2, still))).toBeNull();
    expect(evidenceFault(restored, "m-2", evidenceOf(2))?.code).toBe("EvidenceMismatch");
  });
});
