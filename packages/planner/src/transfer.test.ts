import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type MapRank, mapBlocks } from "./block-map.ts";
import type { BlockMap, TransferPlan } from "./parallel-plan.ts";
import { planTransfer, type TransferOutcome } from "./transfer.ts";

const ranksOf = (count: number): MapRank[] =>
  Array.from({ length: count }, (_, rank) => ({ rank, weight: 1, failureDomain: `node-${rank}` }));

const map = (blocks: number, ranks: number, copies: number, blockElements = 256): BlockMap =>
  mapBlocks({ elements: blocks * blockElements, blockElements, ranks: ranksOf(ranks), copies });

type RankOf = (old: number) => number | null;
const reshape = (previous: BlockMap, ranks: number, copies: number, rankOf: RankOf): BlockMap =>
  mapBlocks({
    elements: previous.elements,
    blockElements: previous.blockElements,
    ranks: ranksOf(ranks),
    copies,
    previous: { map: previous, rankOf },
  });

const transfer = (previous: BlockMap, next: BlockMap, rankOf: RankOf): TransferOutcome =>
  planTransfer({
    previous,
    next,
    rankOf,
    stateBytesPerElement: 12,
    sourceGeneration: 1,
    targetGeneration: 2,
  });

function planned(outcome: TransferOutcome): TransferPlan {
  if (!outcome.possible) throw new Error(outcome.reason.sentence);
  return outcome.plan;
}

const holdersByBlock = (one: BlockMap): (readonly number[])[] =>
  one.runs.flatMap((run) => Array<readonly number[]>(run.blocks).fill(run.holders));

describe("planTransfer", () => {
  it("brings every new holder its block once, from a living holder, and moves nothing else", () => {
    const worlds = fc.record({
      blocks: fc.integer({ min: 1, max: 80 }),
      from: fc.integer({ min: 2, max: 7 }),
      joiners: fc.nat(3),
      leaver: fc.option(fc.nat(6)),
      copies: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(worlds, ({ blocks, from, joiners, leaver, copies }) => {
        const gone = leaver === null ? -1 : leaver % from;
        const rankOf: RankOf = (old) =>
          old === gone ? null : old - (gone >= 0 && old > gone ? 1 : 0);
        const previous = map(blocks, from, copies);
        const next = reshape(previous, from - (gone >= 0 ? 1 : 0) + joiners, copies, rankOf);
        const outcome = transfer(previous, next, rankOf);
        expect(transfer(previous, next, rankOf)).toEqual(outcome);
        const living = holdersByBlock(previous).map((holders) =>
          holders.map(rankOf).filter((rank) => rank !== null),
        );
        const lost = living.filter((holders) => holders.length === 0).length;
        if (!outcome.possible) {
          expect(outcome.lost.reduce((sum, span) => sum + span.blocks, 0)).toBe(lost);
          expect(lost).toBeGreaterThan(0);
          return;
        }
        expect(lost).toBe(0);
        const received = outcome.plan.moves.flatMap((move) =>
          Array.from({ length: move.blocks }, (_, index) => {
            const block = move.firstBlock + index;
            expect(living[block]).toContain(move.sourceRank);
            expect(living[block]).not.toContain(move.targetRank);
            return `${block}→${move.targetRank}`;
          }),
        );
        const needed = holdersByBlock(next).flatMap((holders, block) =>
          holders
            .filter((rank) => !living[block]?.includes(rank))
            .map((rank) => `${block}→${rank}`),
        );
        expect(received.sort()).toEqual(needed.sort());
        expect(outcome.plan.totalBytes).toBe(needed.length * 256 * 12);
        expect(outcome.plan.moves.map((move) => move.id)).toEqual(
          outcome.plan.moves.map((_, i) => i),
        );
      }),
    );
  });

  it.each([
    [8, 9, 851, 10_708_058_112],
    [8, 7, 957, 12_041_846_784],
    [16, 15, 478, 6_014_631_936],
  ])("8B: a planned %i → %i moves %i blocks, %i bytes", (from, to, blocks, bytes) => {
    const previous = mapBlocks({
      elements: 8_030_261_248,
      blockElements: 1_048_576,
      ranks: ranksOf(from),
      copies: 1,
    });
    // A planned leave: the leaver serves until the commit, so it keeps a number beyond the new world.
    const next = reshape(previous, to, 1, (old) => (old < to ? old : null));
    const plan = planned(transfer(previous, next, (old) => old));
    expect(plan.moves.reduce((sum, move) => sum + move.blocks, 0)).toBe(blocks);
    // The figures count the padded last block, which the tail of the last rank brings along; the wire does not.
    const movesLast = plan.moves.some((move) => move.firstBlock + move.blocks === 7659);
    expect(movesLast).toBe(true);
    expect(plan.totalBytes).toBe(bytes - 782_336 * 12);
  });

  it("moves no bytes of state when one of N ranks that hold everything dies", () => {
    const previous = map(640, 4, 4);
    const rankOf: RankOf = (old) => (old === 1 ? null : old > 1 ? old - 1 : old);
    const next = reshape(previous, 3, 3, rankOf);
    expect(planned(transfer(previous, next, rankOf)).moves).toEqual([]);
  });

  it("feeds a joiner from all holders evenly, in contiguous pieces", () => {
    const previous = map(640, 4, 4);
    const plan = planned(
      transfer(
        previous,
        reshape(previous, 5, 5, (old) => old),
        (old) => old,
      ),
    );
    const sent = Map.groupBy(plan.moves, (move) => move.sourceRank);
    const blocks = [0, 1, 2, 3].map((rank) =>
      (sent.get(rank) ?? []).reduce((sum, move) => sum + move.blocks, 0),
    );
    expect(blocks).toEqual([160, 160, 160, 160]);
    expect(plan.moves.length).toBeLessThanOrEqual(8);
  });

  it("says which blocks no living rank holds", () => {
    const previous = map(9, 3, 1);
    const rankOf: RankOf = (old) => (old === 1 ? null : old > 1 ? 1 : 0);
    const outcome = transfer(previous, reshape(previous, 2, 1, rankOf), rankOf);
    expect(outcome).toEqual({
      possible: false,
      lost: [{ firstBlock: 3, blocks: 3 }],
      reason: {
        code: "BlocksLost",
        sentence:
          "no living rank holds 3 of 9 blocks, the first is block 3; the state must be read from a checkpoint",
      },
    });
  });
});
