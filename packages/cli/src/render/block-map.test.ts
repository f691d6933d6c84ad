import type {
  Generation,
  GetBlockMapResponse,
  Member,
} from "@shardwright/proto/gen/shardwright/v1/job_service";
import { expect, it } from "vitest";
import { type BlockMapPicture, blockMapToObject } from "../rpc/block-map-object.ts";
import { barOf, drawBlockMap, drawRuns } from "./block-map.ts";
import { speaksUnicode } from "./glyphs.ts";
import { width } from "./table.ts";

// 40 blocks of 256 elements, the last one short by 56: 10,184 elements.
const ANSWER: GetBlockMapResponse = {
  generation: 3n,
  blockMap: {
    elementsCount: 10_184n,
    blockElementsCount: 256,
    blocksCount: 40,
    runs: [
      { firstBlock: 0, blocksCount: 20, holders: [0, 1] },
      { firstBlock: 20, blocksCount: 10, holders: [1, 0] },
      { firstBlock: 30, blocksCount: 10, holders: [1] },
    ],
  },
  lanes: [
    { rank: 1, laneBegin: 4, laneEnd: 8 },
    { rank: 0, laneBegin: 0, laneEnd: 4 },
  ],
  snapshotStep: 0n,
  snapshotCopies: [],
};

function aMember(slot: number): Member {
  const rank = { rank: slot, pid: 9, laneBegin: 0, laneEnd: 1, state: "busy" };
  return {
    name: `tone-m${slot}`,
    slot,
    incarnation: 1,
    state: "loaded",
    node: "here",
    pid: 8,
    ranks: [{ ...rank, ownedBlocksCount: 0, replicaBlocksCount: 0 }],
  };
}

function aGeneration(generation: bigint, movedBytes: bigint, source: string): Generation {
  const reason = { code: "RankLost", sentence: "rank 2 was killed" };
  const rest = { step: 9n, worldSize: 2, seconds: 0.4, committedTime: undefined };
  return { generation, movedBytes, source, reason, ...rest };
}

function aPicture(generations: readonly Generation[] = []): BlockMapPicture {
  const members = [aMember(0), aMember(1)];
  const picture = blockMapToObject("tone", ANSWER, { members, generations });
  if (picture === null) throw new Error("no picture");
  return picture;
}

const PLAIN = { columns: 120, unicode: false, color: false };

it("counts blocks and bytes, the short last block as what it holds", () => {
  const picture = aPicture();
  expect(picture.stateBytes).toBe(10_184 * 12);
  expect(picture.ranks).toEqual([
    {
      rank: 0,
      member: "tone-m0",
      lanes: [0, 4],
      ownedBlocks: 20,
      ownedBytes: 20 * 256 * 12,
      replicaBlocks: 10,
      replicaBytes: 10 * 256 * 12,
    },
    {
      rank: 1,
      member: "tone-m1",
      lanes: [4, 8],
      ownedBlocks: 20,
      ownedBytes: (10_184 - 20 * 256) * 12,
      replicaBlocks: 20,
      replicaBytes: 20 * 256 * 12,
    },
  ]);
  const owned = picture.ranks.reduce((sum, rank) => sum + rank.ownedBytes, 0);
  expect(owned).toBe(picture.stateBytes);
});

it("is a picture in plain ASCII", () => {
  expect(drawBlockMap(aPicture(), PLAIN)).toBe(
    [
      "job tone  generation 3  2 ranks  40 blocks of 256 elements  119.3 KiB of state",
      "",
      "rank 0  tone-m0  ####################----------..........  owns 20 (60.0 KiB)  replicates 10 (30.0 KiB)  lanes 0-3",
      "rank 1  tone-m1  --------------------####################  owns 20 (59.3 KiB)  replicates 20 (60.0 KiB)  lanes 4-7",
      "                 0                                     39",
      "",
      "# owns  + owns some  - replicates  . neither  (one cell is one block)",
      "last change: none, this is the first generation",
      "",
    ].join("\n"),
  );
});

it("puts several blocks into a cell on a narrow terminal, and never wraps a bar", () => {
  const drawn = drawBlockMap(aPicture(), { ...PLAIN, columns: 44 });
  expect(drawn).toContain("rank 0  tone-m0  #############------.......\n");
  expect(drawn).toContain("  owns 20 (60.0 KiB)  replicates 10 (30.0 KiB)  lanes 0-3\n");
  for (const line of drawn.split("\n").filter((each) => each.startsWith("rank"))) {
    expect(width(line)).toBeLessThanOrEqual(44);
  }
});

it.each([1, 3, 7, 16, 39, 40])("shows every block once with %d cells", (cells) => {
  const bars = [0, 1].map((rank) => barOf(aPicture(), rank, cells));
  for (let cell = 0; cell < cells; cell++) {
    const shades = bars.map((bar) => bar[cell]);
    // Each block has one owner: a cell is owned by one rank, or shared by both.
    const isShared = shades.every((shade) => shade === "partly");
    const isOwned = shades.filter((shade) => shade === "owned").length === 1;
    expect(isShared || (isOwned && !shades.includes("partly"))).toBe(true);
  }
});

it("uses block characters and colours only when told to", () => {
  const drawn = drawBlockMap(aPicture(), { columns: 120, unicode: true, color: true });
  expect(drawn).toContain(
    `\u001b[36m${"█".repeat(20)}\u001b[0m\u001b[2m${"░".repeat(10)}\u001b[0m··`,
  );
  const ascii = drawBlockMap(
    aPicture([aGeneration(2n, 0n, "fresh"), aGeneration(3n, 0n, "live")]),
    PLAIN,
  );
  expect(ascii).toMatch(/^[\n\x20-\x7e]*$/);
});

it("says what the last change moved", () => {
  const live = [
    aGeneration(3n, 61_104n, "live"),
    aGeneration(1n, 0n, "fresh"),
    aGeneration(2n, 0n, "fresh"),
  ];
  expect(drawBlockMap(aPicture(live), PLAIN)).toContain(
    "last change: generation 2 -> 3: 59.7 KiB (50 %) of state moved between ranks in 0.4 s; rank 2 was killed\n",
  );
  const read = [aGeneration(2n, 0n, "fresh"), aGeneration(3n, 0n, "checkpoint")];
  expect(drawBlockMap(aPicture(read), PLAIN)).toContain(
    "2 -> 3: every rank read its blocks from the checkpoint in 0.4 s",
  );
  // A generation after the map's is not its change.
  expect(
    aPicture([aGeneration(2n, 0n, "fresh"), aGeneration(4n, 0n, "live")]).lastChange,
  ).toBeNull();
});

it("lists the runs of blocks", () => {
  expect(drawRuns(aPicture())).toBe(
    [
      "FIRST   LAST   BLOCKS      BYTES   OWNER   REPLICAS",
      "    0     19       20   60.0 KiB       0   1",
      "   20     29       10   30.0 KiB       1   0",
      "   30     39       10   29.3 KiB       1   -",
      "",
    ].join("\n"),
  );
});

it("is nothing before the first generation", () => {
  const none = {
    generation: 0n,
    blockMap: undefined,
    lanes: [],
    snapshotStep: 0n,
    snapshotCopies: [],
  };
  expect(blockMapToObject("tone", none, { members: [], generations: [] })).toBeNull();
});

it("reads the locale as POSIX does", () => {
  expect(speaksUnicode({ LANG: "de_DE.UTF-8" })).toBe(true);
  expect(speaksUnicode({ LANG: "de_DE.UTF-8", LC_ALL: "C" })).toBe(false);
  expect(speaksUnicode({ LC_ALL: "", LC_CTYPE: "C.utf8" })).toBe(true);
  expect(speaksUnicode({})).toBe(false);
});

it("says of which step the agents have everything, and who has how much", () => {
  const around = { members: [aMember(0)], generations: [] };
  const copies = [
    { member: "tone-m0", blocksCount: 40 },
    { member: "tone-m1", blocksCount: 12 },
  ];
  const answer = { ...ANSWER, snapshotStep: 18n, snapshotCopies: copies };
  const picture = blockMapToObject("tone", answer, around);
  expect(picture?.snapshot).toEqual({
    step: 18,
    members: [
      { member: "tone-m0", blocks: 40 },
      { member: "tone-m1", blocks: 12 },
    ],
  });
  if (picture === null) throw new Error("no picture");
  expect(drawBlockMap(picture, PLAIN)).toContain(
    "\nsnapshot in memory: step 18, tone-m0 40 of 40 blocks, tone-m1 12 of 40 blocks\n",
  );
  expect(drawBlockMap(aPicture(), PLAIN)).not.toContain("snapshot in memory");
});

it("says that the last change went back to the agents' memory", () => {
  const picture = aPicture([aGeneration(2n, 0n, "fresh"), aGeneration(3n, 3_072n, "snapshot")]);
  expect(drawBlockMap(picture, PLAIN)).toContain(
    "ranks took their blocks from the agents' memory, 3.0 KiB of it between members in 0.4 s",
  );
});
