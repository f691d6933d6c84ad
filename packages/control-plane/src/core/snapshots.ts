/**
 * Snapshots: copies of blocks in the memory of the members' agents, which outlive the ranks. Which one is the newest
 * that is complete, and how a generation starts from it.
 */
import {
  type BlockMap,
  blocksCount,
  mapCopies,
  planTransfer,
  SNAPSHOT_COPIES,
  STATE_BYTES_PER_ELEMENT,
} from "@shardwright/planner";
import type { MemberEvent } from "./events.ts";
import type {
  CommittedGeneration,
  GenerationPlan,
  LineEntry,
  Live,
  MemberState,
  SnapshotHolding,
  Source,
} from "./state.ts";
import { changeMember, type Turn } from "./turn.ts";

// Snapshots older than that are long replaced: an agent keeps two.
const LINE_KEPT = 64;

/** Which ranks put a copy of which block into their agent's memory. Members fail together, ranks do not. */
export function snapshotMapOf({ blockMap, seats }: GenerationPlan): BlockMap {
  const ranks = seats.map(({ rank, member }) => ({ rank, weight: 1, failureDomain: member }));
  return mapCopies(blockMap, ranks, SNAPSHOT_COPIES);
}

/** An agent says what it keeps; the newest word replaces the one before. */
export function onSnapshots(
  turn: Turn,
  event: Extract<MemberEvent, { readonly kind: "snapshots" }>,
): void {
  changeMember(turn, event.member, { snapshots: event.snapshots });
}

/**
 * The generations whose steps are part of the run as it is now. One that starts at step t undoes the steps after t of
 * all before it: their snapshots beyond t belong to a past that did not happen.
 */
export function lineAfter(
  line: readonly LineEntry[],
  { number, step }: { readonly number: number; readonly step: number },
): readonly LineEntry[] {
  const kept = line.map((entry) => ({
    generation: entry.generation,
    until: entry.until === null ? step : Math.min(entry.until, step),
  }));
  return [...kept, { generation: number, until: null }].slice(-LINE_KEPT);
}

export interface CompleteSnapshot {
  readonly generation: number;
  readonly step: number;
}

/**
 * The newest snapshot of the line of which these members together have every block; null where there is none. Of two
 * of the same step the one of the later generation.
 */
export function newestComplete(
  members: readonly Pick<MemberState, "snapshots">[],
  line: readonly LineEntry[],
  blocks: number,
): CompleteSnapshot | null {
  const held = members.flatMap(({ snapshots }) => snapshots).filter((one) => isOfLine(one, line));
  const known = new Map(held.map((one) => [keyOf(one), one]));
  const newestFirst = [...known.values()].sort(
    (a, b) => b.step - a.step || b.generation - a.generation,
  );
  const found = newestFirst.find((one) => {
    const copies = held.filter((other) => keyOf(other) === keyOf(one));
    return coversAll(copies, blocks);
  });
  return found === undefined ? null : { generation: found.generation, step: found.step };
}

/** The newest snapshot that is complete, and how many blocks of it each member has; step 0 where there is none. */
export function copiesOf(
  { members, line }: Pick<Live, "members" | "line">,
  blocks: number,
): {
  readonly step: number;
  readonly copies: readonly { readonly member: string; readonly blocksCount: number }[];
} {
  const newest = newestComplete(members, line, blocks);
  if (newest === null) return { step: 0, copies: [] };
  const copies = members.flatMap(({ name, snapshots }) => {
    const found = snapshots.find((one) => keyOf(one) === keyOf(newest));
    if (found === undefined) return [];
    const blocksCount = found.blocks.reduce((sum, span) => sum + span.blocks, 0);
    return [{ member: name, blocksCount }];
  });
  return { step: newest.step, copies };
}

/** The step of the newest snapshot that a member has any part of; −1 where it has none of this line. */
export function newestStep({ snapshots }: MemberState, line: readonly LineEntry[]): number {
  return Math.max(-1, ...snapshots.filter((one) => isOfLine(one, line)).map(({ step }) => step));
}

function isOfLine({ generation, step }: SnapshotHolding, line: readonly LineEntry[]): boolean {
  const entry = line.find((one) => one.generation === generation);
  return entry !== undefined && (entry.until === null || step <= entry.until);
}

function keyOf({ generation, step }: CompleteSnapshot): string {
  return `${generation}:${step}`;
}

function coversAll(copies: readonly SnapshotHolding[], blocks: number): boolean {
  const spans = copies.flatMap((copy) => copy.blocks).sort((a, b) => a.firstBlock - b.firstBlock);
  let covered = 0;
  for (const { firstBlock, blocks: count } of spans) {
    if (firstBlock > covered) return false;
    covered = Math.max(covered, firstBlock + count);
  }
  return covered >= blocks;
}

export interface SnapshotRequest {
  readonly live: Live;
  readonly committed: CommittedGeneration;
  /** Members of the ranks of the new generation, by rank. */
  readonly seated: readonly { readonly member: string }[];
  readonly number: number;
  /** The block map for these ranks. */
  readonly blockMap: BlockMap;
}

/**
 * The snapshot these ranks can start from; null where they have none that is complete, or where the newest checkpoint
 * is of a later step. Every rank reads what its own agent has; the rest comes from a rank beside an agent that has it.
 */
export function snapshotSource(request: SnapshotRequest): SnapshotSource | null {
  const { live, committed, seated, number, blockMap } = request;
  const names = new Set(seated.map(({ member }) => member));
  const members = live.members.filter(({ name }) => names.has(name));
  const newest = newestComplete(members, live.line, blockMap.blocks);
  if (newest === null || newest.step < (live.lastCommit?.step ?? 0)) return null;
  const transfer = planTransfer({
    previous: accessMap(request, members, newest),
    next: blockMap,
    rankOf: (rank) => rank,
    stateBytesPerElement: STATE_BYTES_PER_ELEMENT,
    sourceGeneration: committed.number,
    targetGeneration: number,
  });
  if (!transfer.possible) return null;
  return { kind: "snapshot", ...newest, transfer: transfer.plan };
}

type SnapshotSource = Extract<Source, { readonly kind: "snapshot" }>;

/** Block → the new ranks whose agent has it, as a block map: what a transfer can be planned from. */
function accessMap(
  { seated, blockMap }: SnapshotRequest,
  members: readonly MemberState[],
  newest: CompleteSnapshot,
): BlockMap {
  const holders: number[][] = Array.from({ length: blockMap.blocks }, () => []);
  for (const [rank, { member }] of seated.entries()) {
    const copies = members
      .filter(({ name }) => name === member)
      .flatMap(({ snapshots }) => snapshots)
      .filter((one) => keyOf(one) === keyOf(newest));
    for (const { firstBlock, blocks } of copies.flatMap((copy) => copy.blocks))
      for (let at = firstBlock; at < firstBlock + blocks; at++) holders[at]?.push(rank);
  }
  const runs: { firstBlock: number; blocks: number; holders: number[] }[] = [];
  for (const [block, ranks] of holders.entries()) {
    const last = runs.at(-1);
    if (last?.holders.join() === ranks.join()) last.blocks++;
    else runs.push({ firstBlock: block, blocks: 1, holders: ranks });
  }
  return { ...blockMap, runs };
}

/**
 * Members whose ranks load again may have newer state in their agents' memory than those who are here: they are waited
 * for. `offered` is the generation that could be made without them; null: one from the last checkpoint.
 */
export function waitsForSnapshots(turn: Turn, offered: GenerationPlan | null): boolean {
  const { members, line, facts, plan, lastCommit } = turn.live;
  if (facts === null) return false;
  const seated = new Set(offered?.seats.map(({ member }) => member));
  const near = members.filter(
    ({ name, state, leaving }) => !leaving && (state === "loading" || seated.has(name)),
  );
  const blocks = blocksCount(facts.layout.elements, plan.blockElements);
  const newest = newestComplete(near, line, blocks);
  if (newest === null || newest.step <= (offered?.step ?? lastCommit?.step ?? 0)) return false;
  const missing = near.filter(({ state }) => state === "loading").map(({ name }) => name);
  turn.reason = {
    code: "Resharding",
    sentence: `the state of step ${newest.step} is in the memory of ${missing.join(", ")}, whose ranks load again`,
  };
  return true;
}
