import { describe, expect, it } from "vitest";
import { type Candidate, chooseSource } from "./resume.ts";
import type { CommittedGeneration } from "./state.ts";

const committed: CommittedGeneration = {
  number: 3,
  seats: [],
  leavers: [],
  blockMap: { elements: 4, blockElements: 4, blocks: 1, runs: [] },
  lanes: [],
  source: { kind: "fresh" },
  step: 0,
  reason: { code: "Started", sentence: "" },
  storePrefix: "",
  committedMs: 0,
  finished: [],
  mode: "broken",
  brokenSinceMs: 0,
};

/** Rank `rank` of generation 3 unless said otherwise; "5+" is version 5 with step 6 pending. */
function holder(rank: number, at: string, generation = 3): Candidate {
  const version = Number.parseInt(at, 10);
  return {
    member: `m${rank}`,
    slot: rank,
    incarnation: 1,
    localRank: 0,
    pid: 10 + rank,
    node: "n",
    holding: { generation, rank, version, pending: at.endsWith("+") },
  };
}

describe("chooseSource", () => {
  it.each([
    ["all at a boundary", ["5", "5"], 5, 2],
    ["one has applied what the other can finish", ["6", "5+"], 6, 2],
    ["one has applied, the other has only reduced", ["6", "5"], 6, 2],
    ["pending everywhere", ["5+", "5+"], 6, 2],
    ["pending somewhere", ["5+", "5"], 6, 2],
    ["alone", ["0"], 0, 1],
    ["too far behind is of no use", ["7", "5"], 7, 1],
  ])("%s", (_, at, targetVersion, holders) => {
    const choice = chooseSource(
      committed,
      at.map((one, rank) => holder(rank, one)),
    );
    expect(choice).toMatchObject({ kind: "live", targetVersion });
    expect(choice.kind === "live" && choice.holders.size).toBe(holders);
  });

  it("takes nothing from another generation, from nobody, or before the first", () => {
    expect(chooseSource(committed, [holder(0, "9", 2)]).kind).toBe("elsewhere");
    expect(chooseSource(committed, [{ ...holder(0, "9"), holding: null }]).kind).toBe("elsewhere");
    expect(chooseSource(committed, []).kind).toBe("elsewhere");
    expect(chooseSource(null, [holder(0, "9")]).kind).toBe("elsewhere");
  });
});
