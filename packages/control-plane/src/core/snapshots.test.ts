import { mapBlocks } from "@shardwright/planner";
import { describe, expect, it } from "vitest";
import { copiesOf, lineAfter, newestComplete, newestStep, snapshotSource } from "./snapshots.ts";
import type {
  CommittedGeneration,
  LineEntry,
  Live,
  MemberState,
  SnapshotHolding,
} from "./state.ts";

const BLOCKS = 6;

function held(generation: number, step: number, ...spans: [number, number][]): SnapshotHolding {
  const blocks = spans.map(([firstBlock, count]) => ({ firstBlock, blocks: count }));
  return { generation, step, blocks, bytes: 0 };
}

type Holder = Pick<MemberState, "snapshots">;
const member = (...snapshots: SnapshotHolding[]): Holder => ({ snapshots });

function lineOf(...starts: [number, number][]): readonly LineEntry[] {
  return starts.reduce<readonly LineEntry[]>(
    (line, [number, step]) => lineAfter(line, { number, step }),
    [],
  );
}

describe("newestComplete", () => {
  const line = lineOf([1, 0]);

  it("is the newest of which every block is with somebody", () => {
    const members = [
      member(held(1, 4, [0, 3]), held(1, 6, [0, 3])),
      member(held(1, 4, [2, 4]), held(1, 6, [3, 3])),
    ];
    expect(newestComplete(members, line, BLOCKS)).toEqual({ generation: 1, step: 6 });
  });

  it("is an older one while the newer is torn", () => {
    const torn = member(held(1, 4, [0, 3]), held(1, 6, [0, 3]));
    const whole = member(held(1, 4, [3, 3]), held(1, 6, [4, 2]));
    expect(newestComplete([torn, whole], line, BLOCKS)).toEqual({ generation: 1, step: 4 });
    expect(newestComplete([torn], line, BLOCKS)).toBeNull();
  });

  it("never joins copies of two steps or of two generations", () => {
    const two = lineOf([1, 0], [2, 5]);
    expect(
      newestComplete([member(held(1, 4, [0, 3]), held(1, 5, [3, 3]))], two, BLOCKS),
    ).toBeNull();
    expect(
      newestComplete([member(held(1, 5, [0, 3]), held(2, 5, [3, 3]))], two, BLOCKS),
    ).toBeNull();
  });

  it("is of no generation that is not of this run", () => {
    expect(newestComplete([member(held(3, 4, [0, 6]))], line, BLOCKS)).toBeNull();
    expect(newestComplete([], line, BLOCKS)).toBeNull();
  });

  it("is not beyond where a later generation started", () => {
    // Generation 2 went back to the checkpoint of step 3: what 1 did after it was undone.
    const undone = lineOf([1, 0], [2, 3]);
    const members = [member(held(1, 3, [0, 6]), held(1, 5, [0, 6]))];
    expect(newestComplete(members, undone, BLOCKS)).toEqual({ generation: 1, step: 3 });
    expect(newestStep({ snapshots: [held(1, 5)] } as unknown as MemberState, undone)).toBe(-1);
    // Going on from later does not bring it back.
    expect(newestComplete(members, lineOf([1, 0], [2, 3], [3, 9]), BLOCKS)).toEqual({
      generation: 1,
      step: 3,
    });
  });
});

describe("copiesOf", () => {
  it("says who has how much of the newest that is complete", () => {
    const named = (name: string, ...snapshots: SnapshotHolding[]): MemberState =>
      ({ name, snapshots }) as unknown as MemberState;
    const members = [
      named("m0", held(1, 4, [0, 2], [3, 1]), held(1, 6, [0, 6])),
      named("m1", held(1, 4, [1, 5])),
      named("m2"),
    ];
    const line = lineOf([1, 0], [2, 5]);
    expect(copiesOf({ members, line }, BLOCKS)).toEqual({
      step: 4,
      copies: [
        { member: "m0", blocksCount: 3 },
        { member: "m1", blocksCount: 5 },
      ],
    });
    expect(copiesOf({ members: members.slice(1), line }, BLOCKS)).toEqual({ step: 0, copies: [] });
  });
});

describe("newestComplete against trying everything", () => {
  it("agrees on 2,000 drawn cases", () => {
    let seed = 1;
    const draw = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    let found = 0;
    for (let round = 0; round < 2_000; round++) {
      const starts = Array.from({ length: 1 + draw(3) }, (_, at): [number, number] => [
        at + 1,
        draw(4),
      ]);
      const line = lineOf(...starts);
      const members = Array.from({ length: 1 + draw(3) }, () =>
        member(
          ...Array.from({ length: draw(4) }, () =>
            held(1 + draw(4), 1 + draw(4), [draw(3), 1 + draw(6)], [draw(6), 1]),
          ),
        ),
      );
      const answer = newestComplete(members, line, BLOCKS);
      expect(answer).toEqual(bruteForce(members, starts));
      if (answer !== null) found++;
    }
    expect(found).toBeGreaterThan(200);
  });
});

/** Every (step, generation) from the newest down, block by block, against every later start. */
function bruteForce(
  members: readonly Holder[],
  starts: readonly [number, number][],
): { generation: number; step: number } | null {
  for (let step = 9; step > 0; step--) {
    for (let generation = 9; generation > 0; generation--) {
      const isOurs = starts.some(([number]) => number === generation);
      const isUndone = starts.some(([number, from]) => number > generation && from < step);
      const has = (block: number): boolean =>
        members.some(({ snapshots }) =>
          snapshots.some(
            (one) =>
              one.step === step &&
              one.generation === generation &&
              one.blocks.some((b) => block >= b.firstBlock && block < b.firstBlock + b.blocks),
          ),
        );
      const isWhole = Array.from({ length: BLOCKS }, (_, block) => block).every(has);
      if (isOurs && !isUndone && isWhole) return { generation, step };
    }
  }
  return null;
}

describe("snapshotSource", () => {
  const blockMap = mapBlocks({
    elements: BLOCKS * 8,
    blockElements: 8,
    ranks: ["m0", "m1"].map((failureDomain, rank) => ({ rank, weight: 1, failureDomain })),
    copies: 1,
  });
  const source = (lastStep: number | null) =>
    snapshotSource({
      live: {
        members: [
          { name: "m0", snapshots: [held(1, 4, [0, 4])] },
          { name: "m1", snapshots: [held(1, 4, [2, 4])] },
        ],
        line: lineOf([1, 0]),
        lastCommit: lastStep === null ? null : { step: lastStep },
      } as unknown as Live,
      committed: { number: 1 } as CommittedGeneration,
      seated: [{ member: "m0" }, { member: "m1" }],
      number: 2,
      blockMap,
    });

  it("is not taken where a checkpoint is of a later step", () => {
    expect(source(null)).toMatchObject({ kind: "snapshot", generation: 1, step: 4 });
    expect(source(4)).toMatchObject({ kind: "snapshot", step: 4 });
    expect(source(5)).toBeNull();
  });

  it("moves what a rank's own agent has not, and nothing else", () => {
    const owners = blockMap.runs.map(({ holders }) => holders[0]);
    expect(owners).toEqual([0, 1]);
    // m0 owns 0..2 and has 0..3; m1 owns 3..5 and has 2..5: everything is at hand.
    expect(source(null)?.transfer.moves).toEqual([]);
  });
});
