/** The next generation from who is there: seats, lanes, block map, source. Pure and the same for every caller. */
import type { Reason } from "@shardwright/job";
import { copiesIn, mapBlocks, planTransfer, STATE_BYTES_PER_ELEMENT } from "@shardwright/planner";
import type { HeadAnswer } from "./events.ts";
import { lanesFor } from "./relief.ts";
import { type Candidate, chooseSource } from "./resume.ts";
import { newestStep, snapshotSource } from "./snapshots.ts";
import type { GenerationPlan, JobFacts, Live, Seat, Source } from "./state.ts";

type SnapshotSource = Extract<Source, { readonly kind: "snapshot" }>;

export interface FormRequest {
  readonly uid: string;
  readonly method: string;
  readonly live: Live;
  readonly facts: JobFacts;
  readonly candidates: readonly Candidate[];
  /** Idle ranks of members that leave: asked to hand over what nobody who stays holds. */
  readonly leavers: readonly Candidate[];
  readonly ranksMin: number;
  readonly reason: Reason;
  /** What the checkpoint-manager said; null = not asked. */
  readonly head: HeadAnswer | null;
}

export type Formed =
  | { readonly kind: "formed"; readonly plan: GenerationPlan }
  /** The living do not hold every block: ask for the newest checkpoint, then form again. */
  | { readonly kind: "needsHead"; readonly sentence: string }
  | { readonly kind: "tooFew"; readonly reason: Reason };

/** Members by slot, ranks of a member by local rank: every caller numbers them the same. */
export function formGeneration(request: FormRequest): Formed {
  const { live, candidates, ranksMin } = request;
  if (candidates.length < ranksMin) {
    const sentence = `${candidates.length} of at least ${ranksMin} ranks are there`;
    return { kind: "tooFew", reason: { code: "TooFewRanks", sentence } };
  }
  const lanes = live.plan.recipe.lanes;
  const bySlot = (a: Candidate, b: Candidate): number =>
    a.slot - b.slot || a.localRank - b.localRank;
  const isLive = ({ holding }: Candidate): boolean =>
    live.committed !== null && holding?.generation === live.committed.number;
  // Where there are more ranks than lanes, those that hold state come first: without them it would be lost.
  const holds = (candidate: Candidate): number => {
    if (isLive(candidate)) return Number.MAX_SAFE_INTEGER;
    const { member } = candidate;
    const found = live.members.find(({ name }) => name === member);
    return found === undefined ? -1 : newestStep(found, live.line);
  };
  const seated = [...candidates]
    .sort((a, b) => holds(b) - holds(a) || bySlot(a, b))
    .slice(0, lanes)
    .sort(bySlot);
  const number = live.lastGeneration + 1;
  const seats = seated.map(seatOf);
  const rest = {
    number,
    seats,
    leavers: [],
    lanes: lanesFor(
      live,
      request.method,
      seats.map(({ pid }) => pid),
    ),
    reason: request.reason,
    storePrefix: `${request.uid}/g${number}`,
  };
  // Who leaves takes part only where state would be lost without it.
  const leavers = request.leavers.filter(isLive).sort(bySlot);
  const alone = liveSource(request, { seated, leavers: [] }, number);
  const isHelped = alone.kind !== "live" && leavers.length > 0;
  const living = isHelped ? liveSource(request, { seated, leavers }, number) : alone;
  if (living.kind === "live") {
    return {
      kind: "formed",
      plan: {
        ...rest,
        leavers: isHelped ? leavers.map((one, at) => seatOf(one, seats.length + at)) : [],
        blockMap: living.blockMap,
        source: living.source,
        step: living.source.targetVersion,
      },
    };
  }
  const resting = restingSource(request, seated, number);
  if (resting !== null) {
    const { blockMap, source } = resting;
    return { kind: "formed", plan: { ...rest, blockMap, source, step: source.step } };
  }
  const blockMap = mapBlocks(mapRequest(request, seated));
  if (live.committed === null && live.lastCommit === null) {
    return { kind: "formed", plan: { ...rest, blockMap, source: { kind: "fresh" }, step: 0 } };
  }
  if (request.head === null) return { kind: "needsHead", sentence: living.sentence };
  const source: Source =
    request.head.kind === "none"
      ? { kind: "fresh" }
      : {
          kind: "checkpoint",
          commit: request.head.commit,
          directory: request.head.directory,
          step: request.head.step,
        };
  return {
    kind: "formed",
    plan: { ...rest, blockMap, source, step: source.kind === "fresh" ? 0 : source.step },
  };
}

function seatOf(candidate: Candidate, rank: number): Seat {
  const { member, slot, incarnation, localRank, pid } = candidate;
  return { rank, member, slot, incarnation, localRank, pid };
}

type Living =
  | {
      readonly kind: "live";
      readonly blockMap: GenerationPlan["blockMap"];
      readonly source: Extract<Source, { kind: "live" }>;
    }
  | { readonly kind: "elsewhere"; readonly sentence: string };

function liveSource(
  request: FormRequest,
  { seated, leavers }: Record<"seated" | "leavers", readonly Candidate[]>,
  number: number,
): Living {
  const { committed } = request.live;
  const everybody = [...seated, ...leavers];
  const choice = chooseSource(committed, everybody);
  if (committed === null || choice.kind === "elsewhere") {
    return { kind: "elsewhere", sentence: choice.kind === "elsewhere" ? choice.sentence : "" };
  }
  const rankOf = (old: number): number | null => {
    const holder = choice.holders.get(old);
    return holder === undefined ? null : everybody.indexOf(holder);
  };
  // A leaver gives, it keeps nothing.
  const keeperOf = (old: number): number | null => {
    const rank = rankOf(old);
    return rank === null || rank >= seated.length ? null : rank;
  };
  const blockMap = mapBlocks({
    ...mapRequest(request, seated),
    previous: { map: committed.blockMap, rankOf: keeperOf },
  });
  const transfer = planTransfer({
    previous: committed.blockMap,
    next: blockMap,
    rankOf,
    stateBytesPerElement: STATE_BYTES_PER_ELEMENT,
    sourceGeneration: committed.number,
    targetGeneration: number,
  });
  if (!transfer.possible) return { kind: "elsewhere", sentence: transfer.reason.sentence };
  return {
    kind: "live",
    blockMap,
    source: { kind: "live", targetVersion: choice.targetVersion, transfer: transfer.plan },
  };
}

/** From the agents' memory: nobody holds every block live, but agents have copies of all of them. */
function restingSource(
  request: FormRequest,
  seated: readonly Candidate[],
  number: number,
): { blockMap: GenerationPlan["blockMap"]; source: SnapshotSource } | null {
  const { live } = request;
  const { committed } = live;
  if (committed === null) return null;
  // Where a rank is respawned in its place its agent has what it had: it gets the same blocks again.
  const rankOf = (old: number): number | null => {
    const seat = committed.seats[old];
    const at = seated.findIndex(
      ({ member, incarnation, localRank }) =>
        member === seat?.member && incarnation === seat.incarnation && localRank === seat.localRank,
    );
    return at < 0 ? null : at;
  };
  const previous = { map: committed.blockMap, rankOf };
  const blockMap = mapBlocks({ ...mapRequest(request, seated), previous });
  const source = snapshotSource({ live, committed, seated, number, blockMap });
  return source === null ? null : { blockMap, source };
}

function mapRequest(
  { live, facts, method }: FormRequest,
  seated: readonly Candidate[],
): Parameters<typeof mapBlocks>[0] {
  return {
    elements: facts.layout.elements,
    blockElements: live.plan.blockElements,
    ranks: seated.map((candidate, rank) => ({ rank, weight: 1, failureDomain: candidate.member })),
    copies: copiesIn(live.plan, method !== "full", seated.length),
  };
}
