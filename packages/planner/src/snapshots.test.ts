import { describe, expect, it } from "vitest";
import { type MapRank, mapBlocks, mapCopies, ownedBlocks } from "./block-map.ts";
import { chooseSnapshots, SNAPSHOT_OVERHEAD_MAX, type SnapshotQuestion } from "./snapshots.ts";

const GB = 1e9;

function question(changes: Partial<SnapshotQuestion> = {}): SnapshotQuestion {
  return {
    stateBytes: 96 * GB,
    ranks: 8,
    members: 2,
    copies: 1,
    stepSeconds: 10,
    saveEverySteps: 736,
    linkBytesPerSecond: 350e9,
    host: null,
    ...changes,
  };
}

describe("chooseSnapshots", () => {
  it.each([
    // 8B over 8 ranks: 24 GB into memory at 2 GB/s are 12 s, 12 GB over 12.5 GB/s are 0.96 s: 12.962 s of 0.3 s a step.
    [{}, 44, 24 * GB],
    // A live replica has the blocks already: nothing is sent.
    [{ copies: 2 }, 41, 24 * GB],
    // One member: its agent alone, one copy, nothing to send.
    [{ members: 1 }, 21, 12 * GB],
    // An adapter of 20 MB over 4 ranks and a second a step: 12 ms are less than 30 ms.
    [{ stateBytes: 20e6, ranks: 4, copies: 4, stepSeconds: 1 }, 1, 10e6],
    // Where a step takes 10 ms the two milliseconds of any snapshot are 3 % of seven of them.
    [{ stateBytes: 1e5, ranks: 1, members: 1, stepSeconds: 0.01 }, 7, 1e5],
    // A slow link counts.
    [{ linkBytesPerSecond: 1e9 }, 81, 24 * GB],
  ])("%j: every %d steps", (changes, everySteps, bytesPerRank) => {
    const choice = chooseSnapshots(question(changes));
    expect(choice).toMatchObject({ everySteps, bytesPerRank, reason: { code: "SnapshotsTaken" } });
    const stepSeconds = question(changes).stepSeconds;
    const overhead = (every: number): number => choice.seconds / (every * stepSeconds);
    expect(overhead(everySteps)).toBeLessThanOrEqual(SNAPSHOT_OVERHEAD_MAX);
    if (everySteps > 1) expect(overhead(everySteps - 1)).toBeGreaterThan(SNAPSHOT_OVERHEAD_MAX);
  });

  it("takes none where checkpoints come more often", () => {
    expect(chooseSnapshots(question({ saveEverySteps: 44 })).everySteps).toBe(44);
    expect(chooseSnapshots(question({ saveEverySteps: 43 }))).toMatchObject({
      everySteps: 0,
      reason: { code: "CheckpointsAreAsNear" },
    });
  });

  it("takes none where three of them do not fit beside training", () => {
    const host = (bytesPerRank: number): SnapshotQuestion =>
      question({ copies: 2, host: { peakBytes: 40 * GB, bytesPerRank } });
    // 40 GB and three times 24 GB.
    expect(chooseSnapshots(host(130 * GB)).everySteps).toBe(41);
    expect(chooseSnapshots(host(110 * GB))).toMatchObject({
      everySteps: 0,
      reason: { code: "SnapshotsDoNotFit" },
    });
  });
});

describe("mapCopies", () => {
  const ranksOf = (domains: readonly string[]): MapRank[] =>
    domains.map((failureDomain, rank) => ({ rank, weight: 1, failureDomain }));

  it.each([
    [["a", "b", "c"], 1],
    [["a", "b", "c"], 2],
    [["a", "a", "b", "b"], 1],
    [["a", "a", "b", "b"], 4],
    [["a", "b", "b", "b", "c"], 1],
  ])("of %j with %d live: owners stay, the copy is in another domain", (domains, copies) => {
    const ranks = ranksOf(domains);
    const map = mapBlocks({ elements: 1000, blockElements: 8, ranks, copies });
    const kept = mapCopies(map, ranks, 2);
    expect(kept.blocks).toBe(map.blocks);
    expect(kept.runs.reduce((sum, run) => sum + run.blocks, 0)).toBe(map.blocks);
    for (const { rank } of ranks) expect(ownedBlocks(kept, rank)).toBe(ownedBlocks(map, rank));
    const holdersOf = (of: typeof map, block: number): readonly number[] =>
      of.runs.find((run) => block >= run.firstBlock && block < run.firstBlock + run.blocks)
        ?.holders ?? [];
    for (let block = 0; block < map.blocks; block++) {
      const holders = holdersOf(kept, block);
      expect(holders[0]).toBe(holdersOf(map, block)[0]);
      expect(new Set(holders.map((rank) => domains[rank])).size).toBe(2);
      // Who holds it live is not sent it again.
      if (copies >= 2) expect(holdersOf(map, block)).toEqual(expect.arrayContaining([...holders]));
    }
  });

  it("is the owner's alone where all fail together", () => {
    const ranks = ranksOf(["a", "a", "a"]);
    const map = mapBlocks({ elements: 1000, blockElements: 8, ranks, copies: 3 });
    for (const { holders } of mapCopies(map, ranks, 2).runs) expect(holders).toHaveLength(1);
  });
});
