/** What every block map and transfer plan must be, checked on seeded chains of joins and leaves. */
import type { BlockMap, MapRank, mapBlocks, planTransfer } from "@shardwright/planner";
import { must } from "./broken.ts";
import { createDraw, type Draw } from "./draw.ts";

export interface Maps {
  readonly mapBlocks: typeof mapBlocks;
  readonly planTransfer: typeof planTransfer;
}

const BLOCK_ELEMENTS = 256;
// Two fp32 moments and the master copy, as in planner's states.ts.
const BYTES_PER_ELEMENT = 12;
const CHANGES = 6;
const RANKS_MAX = 8;

interface Change {
  readonly before: BlockMap;
  readonly after: BlockMap;
  readonly ranks: readonly MapRank[];
  readonly rankOf: (old: number) => number | null;
  readonly copies: number;
  readonly generation: number;
}

/** One chain of changes; throws Broken, which says which rule of the map or the plan does not hold. */
export function checkMaps(maps: Maps, seed: number): void {
  const draw = createDraw(seed);
  const blocks = draw.int(1, 60);
  const space = { elements: blocks * BLOCK_ELEMENTS - 7, blockElements: BLOCK_ELEMENTS };
  const copies = draw.int(1, 3);
  const width = draw.int(1, 3);
  const ranksOf = (members: readonly number[]): MapRank[] =>
    members.map((member, rank) => ({
      rank,
      weight: 1,
      failureDomain: `node-${Math.floor(member / width)}`,
    }));
  let members = Array.from({ length: draw.int(1, RANKS_MAX) }, (_, member) => member);
  let before = maps.mapBlocks({ ...space, copies, ranks: ranksOf(members) });
  for (let generation = 1; generation <= CHANGES; generation++) {
    const old = members;
    members = changed(old, draw);
    const rankOf = (rank: number): number | null => {
      const now = members.indexOf(old[rank] ?? -1);
      return now < 0 ? null : now;
    };
    const ranks = ranksOf(members);
    const after = maps.mapBlocks({ ...space, copies, ranks, previous: { map: before, rankOf } });
    const change = { before, after, ranks, rankOf, copies, generation };
    checkHolders(change);
    checkBalance(change, width === 1);
    checkOwnersStay(change);
    checkTransfer(maps, change);
    before = after;
  }
}

/** One more, or one less, at any place. */
function changed(members: readonly number[], draw: Draw): number[] {
  const at = draw.int(0, members.length - 1);
  const joins = members.length === 1 || (members.length < RANKS_MAX && draw.chance(0.5));
  if (!joins) return members.filter((_, rank) => rank !== at);
  const free = Array.from({ length: RANKS_MAX + 1 }, (_, member) => member);
  const newcomer = free.find((member) => !members.includes(member)) ?? RANKS_MAX;
  return [...members.slice(0, at), newcomer, ...members.slice(at)];
}

const holdersOf = (map: BlockMap): (readonly number[])[] =>
  map.runs.flatMap((run) => Array<readonly number[]>(run.blocks).fill(run.holders));

function checkHolders({ after, ranks, copies }: Change): void {
  const wanted = Math.min(copies, ranks.length);
  holdersOf(after).forEach((holders, block) => {
    must(new Set(holders).size === wanted, `block ${block} is not held by ${wanted} ranks`);
    const [domain, ...others] = holders.map((rank) => ranks[rank]?.failureDomain);
    const elsewhere = ranks.filter(({ failureDomain }) => failureDomain !== domain);
    if (elsewhere.length < wanted - 1) return;
    must(!others.includes(domain), `a replica of block ${block} fails together with its owner`);
  });
}

function checkBalance({ after, ranks, copies }: Change, isAlone: boolean): void {
  const holders = holdersOf(after);
  const spread = (counts: readonly number[]): number => Math.max(...counts) - Math.min(...counts);
  const owned = ranks.map(({ rank }) => holders.filter(([owner]) => owner === rank).length);
  must(spread(owned) <= 1, `owners differ by ${spread(owned)} blocks`);
  if (!isAlone || copies >= ranks.length) return;
  const replicas = ranks.map(
    ({ rank }) => holders.filter((some) => some.slice(1).includes(rank)).length,
  );
  must(spread(replicas) <= 1, `replicas differ by ${spread(replicas)} blocks`);
}

/** Old holders of each block in new rank numbers; null = gone. */
function leftOf({ before, rankOf }: Change): (number | null)[][] {
  return holdersOf(before).map((holders) => holders.map(rankOf));
}

/** As many keep what they own as can: min(owned, its number of blocks now) each. */
function checkOwnersStay(change: Change): void {
  const before = leftOf(change).map(([owner]) => owner);
  const after = holdersOf(change.after).map(([owner]) => owner);
  const kept = change.ranks.reduce((sum, { rank }) => {
    const count = (owners: readonly unknown[]): number =>
      owners.filter((owner) => owner === rank).length;
    return sum + Math.min(count(before), count(after));
  }, 0);
  const stayed = after.filter((owner, block) => owner === before[block]).length;
  must(stayed === kept, `${kept} blocks could keep their owner, ${stayed} do`);
}

function checkTransfer(maps: Maps, change: Change): void {
  const { before, after, rankOf, generation } = change;
  const outcome = maps.planTransfer({
    previous: before,
    next: after,
    rankOf,
    stateBytesPerElement: BYTES_PER_ELEMENT,
    sourceGeneration: generation,
    targetGeneration: generation + 1,
  });
  const left = leftOf(change).map((holders) => holders.filter((rank) => rank !== null));
  const isLost = left.some(({ length }) => length === 0);
  must(outcome.possible !== isLost, `the plan is ${outcome.possible ? "" : "not "}possible`);
  if (!outcome.possible) return;
  const { plan } = outcome;
  must(plan.sourceGeneration === generation, `the plan is from ${plan.sourceGeneration}`);
  must(plan.targetGeneration === generation + 1, `the plan is for ${plan.targetGeneration}`);
  const lacking = new Set(
    holdersOf(after).flatMap((holders, block) =>
      holders.filter((rank) => !left[block]?.includes(rank)).map((rank) => `${block} to ${rank}`),
    ),
  );
  checkSends(change, lacking);
  let bytes = 0;
  for (const { firstBlock, blocks, sourceRank, targetRank, bytes: own } of plan.moves) {
    bytes += own;
    for (let block = firstBlock; block < firstBlock + blocks; block++) {
      const what = `${block} to ${targetRank}`;
      must(left[block]?.includes(sourceRank) === true, `${sourceRank} sends ${what} without it`);
      must(lacking.delete(what), `${what} is sent without need or twice`);
    }
  }
  must(lacking.size === 0, `nobody sends ${[...lacking][0]}`);
  must(bytes === plan.totalBytes, `moves carry ${bytes} bytes, the plan says ${plan.totalBytes}`);
}

/** With a failure domain per rank a newcomer makes nobody else receive anything. */
function checkSends({ ranks, before, rankOf }: Change, lacking: ReadonlySet<string>): void {
  const isAlone = new Set(ranks.map(({ failureDomain }) => failureDomain)).size === ranks.length;
  const old = new Set(before.runs.flatMap(({ holders }) => holders));
  const isJoin = [...old].every((rank) => rankOf(rank) !== null);
  const copies = before.runs[0]?.holders.length ?? 0;
  if (!isAlone || !isJoin || copies >= old.size) return;
  const newcomers = ranks.filter(({ rank }) => ![...old].some((one) => rankOf(one) === rank));
  const others = [...lacking].filter(
    (what) => !newcomers.some(({ rank }) => what.endsWith(` to ${rank}`)),
  );
  must(others.length === 0, `block ${others[0]} is sent besides what the newcomer needs`);
}
