import { STATE_BYTES_PER_ELEMENT } from "@shardwright/planner/states";
import type {
  Generation,
  GetBlockMapResponse,
  Member,
} from "@shardwright/proto/gen/shardwright/v1/job_service";

/** Neighbouring blocks with the same holders. */
export interface RunPicture {
  readonly firstBlock: number;
  readonly blocks: number;
  readonly bytes: number;
  readonly owner: number;
  readonly replicas: readonly number[];
}

/** What one rank holds; `lanes` is [lo, hi). */
export interface RankPicture {
  readonly rank: number;
  /** Empty when its member is not there any more. */
  readonly member: string;
  readonly lanes: readonly [number, number];
  readonly ownedBlocks: number;
  readonly ownedBytes: number;
  readonly replicaBlocks: number;
  readonly replicaBytes: number;
}

/** The step from one generation to the next, as `get generations` has it. */
export interface ChangePicture {
  readonly from: number;
  readonly to: number;
  readonly movedBytes: number;
  /** `fresh`, `live`, `snapshot` or `checkpoint`. */
  readonly source: string;
  readonly reason: string;
  readonly sentence: string;
  readonly seconds: number;
}

/** The newest snapshot of which agents have every block in their memory: where the job goes back to at worst. */
export interface SnapshotPicture {
  readonly step: number;
  readonly members: readonly { readonly member: string; readonly blocks: number }[];
}

/**
 * `blockmap -o json`: who holds which block of the optimizer state. Bytes are those of the state (12 for each
 * element: master weight and two moments), a short last block counts as what it holds. Scripts stand on it.
 */
export interface BlockMapPicture {
  readonly job: string;
  readonly generation: number;
  readonly elements: number;
  readonly blockElements: number;
  readonly blocks: number;
  readonly stateBytes: number;
  readonly ranks: readonly RankPicture[];
  readonly runs: readonly RunPicture[];
  /** Null while there is none that is complete. */
  readonly snapshot: SnapshotPicture | null;
  /** Null while there was only one generation. */
  readonly lastChange: ChangePicture | null;
}

/** Pure: three answers of JobService as one object; null while there is no generation. */
export function blockMapToObject(
  job: string,
  answer: GetBlockMapResponse,
  around: { readonly members: readonly Member[]; readonly generations: readonly Generation[] },
): BlockMapPicture | null {
  const { members, generations } = around;
  const map = answer.blockMap;
  if (map === undefined) return null;
  const elements = Number(map.elementsCount);
  const bytesOf = (firstBlock: number, blocks: number): number => {
    const begin = firstBlock * map.blockElementsCount;
    const end = Math.min(begin + blocks * map.blockElementsCount, elements);
    return (end - begin) * STATE_BYTES_PER_ELEMENT;
  };
  const runs = map.runs.map(({ firstBlock, blocksCount, holders }): RunPicture => {
    const [owner = -1, ...replicas] = holders;
    const bytes = bytesOf(firstBlock, blocksCount);
    return { firstBlock, blocks: blocksCount, bytes, owner, replicas };
  });
  const ranks = answer.lanes.map(({ rank, laneBegin, laneEnd }) => ({
    rank,
    member: members.find((member) => member.ranks.some((one) => one.rank === rank))?.name ?? "",
    lanes: [laneBegin, laneEnd] as const,
    ...holdings(runs, rank),
  }));
  return {
    job,
    generation: Number(answer.generation),
    elements,
    blockElements: map.blockElementsCount,
    blocks: map.blocksCount,
    stateBytes: elements * STATE_BYTES_PER_ELEMENT,
    ranks: ranks.sort((a, b) => a.rank - b.rank),
    runs,
    snapshot: snapshotOf(answer),
    lastChange: changeTo(answer.generation, generations),
  };
}

function snapshotOf({ snapshotStep, snapshotCopies }: GetBlockMapResponse): SnapshotPicture | null {
  if (snapshotStep === 0n) return null;
  const members = snapshotCopies.map(({ member, blocksCount }) => ({
    member,
    blocks: blocksCount,
  }));
  return { step: Number(snapshotStep), members };
}

function holdings(
  runs: readonly RunPicture[],
  rank: number,
): Pick<RankPicture, "ownedBlocks" | "ownedBytes" | "replicaBlocks" | "replicaBytes"> {
  const owned = runs.filter(({ owner }) => owner === rank);
  const copied = runs.filter(({ replicas }) => replicas.includes(rank));
  const sum = (of: readonly RunPicture[], what: "blocks" | "bytes"): number =>
    of.reduce((total, run) => total + run[what], 0);
  return {
    ownedBlocks: sum(owned, "blocks"),
    ownedBytes: sum(owned, "bytes"),
    replicaBlocks: sum(copied, "blocks"),
    replicaBytes: sum(copied, "bytes"),
  };
}

/** The generation of the map and the one before it, in whatever order they are listed. */
function changeTo(number: bigint, generations: readonly Generation[]): ChangePicture | null {
  const upTo = generations
    .filter(({ generation }) => generation <= number)
    .sort((a, b) => Number(a.generation - b.generation));
  const [before, last] = upTo.slice(-2);
  if (before === undefined || last?.generation !== number) return null;
  return {
    from: Number(before.generation),
    to: Number(last.generation),
    movedBytes: Number(last.movedBytes),
    source: last.source,
    reason: last.reason?.code ?? "",
    sentence: last.reason?.sentence ?? "",
    seconds: last.seconds,
  };
}
