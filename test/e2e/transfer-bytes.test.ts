import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { Embedded, fixtures, tinyJob } from "./harness.ts";

// What a change of members moves. The ranks report what they sent and received, and a generation in which that is
// not what its transfer plan says is never committed; here the plan is held against the least that can move.

const STATE_BYTES_PER_ELEMENT = 12; // fp32 master, exp_avg, exp_avg_sq
const SIZES = [2, 3, 4, 5, 4, 3, 2] as const;
// As long as the changes take; the job is cancelled after the last one.
const STEPS = 100_000;
// A newcomer loads for seconds, on a busy machine for a minute.
const CHANGE_MS_MAX = 120_000;
const TEST_MS_MAX = 600_000;

let shardwright: Embedded;
let folder: string;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
});
afterAll(async () => {
  await shardwright.stop();
});

interface Picture {
  readonly generation: number;
  readonly elements: number;
  readonly blockElements: number;
  readonly blocks: number;
  readonly ranks: readonly unknown[];
  readonly runs: readonly {
    readonly firstBlock: number;
    readonly blocks: number;
    readonly owner: number;
    readonly replicas: readonly number[];
  }[];
}

interface GenerationView {
  readonly generation: number;
  readonly source: string;
  readonly movedBytes: number;
}

it.each(["full", "lora"] as const)(
  "a %s job moves what it must, no byte more",
  async (method) => {
    const name = `moves-${method}`;
    onTestFinished(async () => {
      // Its slots are the next job's.
      await shardwright.ctl("cancel", name);
    });
    const every = { steps: STEPS };
    const extra = { checkpoint: { every, keepLast: 2 } };
    await shardwright.apply(
      tinyJob(folder, { name, method, members: SIZES[0], steps: STEPS, extra }),
    );
    let before = await pictureOf(name, SIZES[0]);
    for (const size of SIZES.slice(1)) {
      const scaled = await shardwright.ctl("scale", name, "--members", `${size}`);
      expect(scaled).toMatchObject({ code: 0 });
      const after = await pictureOf(name, size);
      const generations = await shardwright.json<{ items: GenerationView[] }>(
        "get",
        "generations",
        name,
      );
      const [change] = generations.items.filter(
        ({ generation }) => Number(generation) === after.generation,
      );
      const what = `${before.ranks.length} → ${size}: ${JSON.stringify(change)}`;
      expect(after.generation, what).toBe(before.generation + 1);
      expect(change?.source, what).toBe("live");
      // 1. Every new holder gets the block once, whoever holds it already gets nothing.
      expect(Number(change?.movedBytes), what).toBe(bytesOf(after, needsOf(before, after)));
      // 2. That is the least: the newcomer's share, or what the leaver alone must pass on.
      const owners = needsOf(before, after).filter(
        ([block, rank]) => ownerOf(after, block) === rank,
      );
      expect(owners.length, what).toBeLessThanOrEqual(leastOwners(before, after));
      expect(needsOf(before, after).length, what).toBeLessThanOrEqual(leastMoves(before, after));
      // 3. Owners are balanced to the block: a newcomer owns 1/(N+1) of the state.
      for (let rank = 0; rank < size; rank++) {
        const owned = blocksWhere(after, (holders) => holders[0] === rank).length;
        expect(Math.abs(owned - after.blocks / size), what).toBeLessThan(1);
      }
      before = after;
    }
  },
  TEST_MS_MAX,
);

/** The block map once this many ranks run. */
async function pictureOf(name: string, ranks: number): Promise<Picture> {
  const until = Date.now() + CHANGE_MS_MAX;
  while (Date.now() < until) {
    const { status } = await shardwright.job(name);
    if (status.membership?.ranks === ranks && status.state === "Running")
      return await shardwright.json<Picture>("blockmap", name);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`job ${name} never had ${ranks} ranks`);
}

type Holding = readonly [block: number, holder: number];

function holdersOf(picture: Picture): readonly (readonly number[])[] {
  return picture.runs.flatMap(({ blocks, owner, replicas }) =>
    Array.from({ length: blocks }, () => [owner, ...replicas]),
  );
}

function blocksWhere(
  picture: Picture,
  holds: (holders: readonly number[]) => boolean,
): readonly number[] {
  return holdersOf(picture).flatMap((holders, block) => (holds(holders) ? [block] : []));
}

/** Members keep their rank: new ones come last, those who leave were last. */
function needsOf(before: Picture, after: Picture): readonly Holding[] {
  const old = holdersOf(before);
  return holdersOf(after).flatMap((holders, block) =>
    holders.filter((rank) => !old[block]?.includes(rank)).map((rank): Holding => [block, rank]),
  );
}

function bytesOf({ elements, blockElements }: Picture, needs: readonly Holding[]): number {
  return needs.reduce((bytes, [block]) => {
    const end = Math.min((block + 1) * blockElements, elements);
    return bytes + (end - block * blockElements) * STATE_BYTES_PER_ELEMENT;
  }, 0);
}

function ownerOf(picture: Picture, block: number): number {
  return holdersOf(picture)[block]?.[0] ?? -1;
}

/** Blocks that a balanced newcomer owns, or that the leaver owned: 1/(N+1) and 1/N of the state. */
function leastOwners(before: Picture, after: Picture): number {
  const [was, is] = [before.ranks.length, after.ranks.length];
  return Math.ceil(after.blocks / Math.max(was, is));
}

/** Copies that a balanced newcomer holds, or those of the leaver that are still wanted without it. */
function leastMoves(before: Picture, after: Picture): number {
  const copies = (picture: Picture): number => holdersOf(picture)[0]?.length ?? 0;
  const [was, is] = [before.ranks.length, after.ranks.length];
  if (is > was)
    return Math.ceil(after.blocks / is) + Math.ceil((after.blocks * (copies(after) - 1)) / is);
  const lost = blocksWhere(before, (holders) => holders.includes(is)).length;
  return copies(after) < copies(before) ? 0 : lost;
}
