import type { Generation, Member } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { age, seconds } from "../render/duration.ts";
import { bytes } from "../render/quantity.ts";
import type { Column } from "../render/table.ts";

/**
 * One item of `get members -o json`: `{name, slot, incarnation, state, node, pid, ranks: [{rank, pid, lanes,
 * ownedBlocks, replicaBlocks, state}]}`. `lanes` is [lo, hi): lo belongs to the rank, hi does not. `pid` only
 * where the members are processes of this machine. Scripts stand on it.
 */
export function memberToObject(member: Member): Readonly<Record<string, unknown>> {
  return {
    name: member.name,
    slot: member.slot,
    incarnation: member.incarnation,
    state: member.state,
    node: member.node,
    ...withPid(member.pid),
    ranks: member.ranks.map((rank) => ({
      rank: rank.rank,
      ...withPid(rank.pid),
      lanes: [rank.laneBegin, rank.laneEnd],
      ownedBlocks: rank.ownedBlocksCount,
      replicaBlocks: rank.replicaBlocksCount,
      state: rank.state,
    })),
  };
}

/** 0 on the wire means: not a process of this machine. */
function withPid(pid: number): { readonly pid?: number } {
  return pid === 0 ? {} : { pid };
}

export function memberColumns(): readonly Column<Member>[] {
  const each = (member: Member, of: (rank: Member["ranks"][number]) => string): string =>
    member.ranks.map(of).join(",");
  return [
    { title: "NAME", cell: ({ name }) => name },
    { title: "STATE", cell: ({ state }) => state },
    { title: "RANKS", cell: (member) => each(member, ({ rank }) => `${rank}`) },
    {
      title: "LANES",
      cell: (member) => each(member, (rank) => `${rank.laneBegin}-${rank.laneEnd}`),
    },
    {
      title: "OWNED",
      right: true,
      cell: (member) => each(member, (rank) => `${rank.ownedBlocksCount}`),
    },
    {
      title: "REPLICAS",
      right: true,
      cell: (member) => each(member, (rank) => `${rank.replicaBlocksCount}`),
    },
    { title: "INCARNATION", right: true, cell: ({ incarnation }) => `${incarnation}` },
    { title: "PID", right: true, cell: ({ pid }) => (pid === 0 ? "" : `${pid}`) },
    { title: "NODE", wide: true, cell: ({ node }) => node },
    { title: "RANK-PIDS", wide: true, cell: (member) => each(member, ({ pid }) => `${pid}`) },
    { title: "RANK-STATES", wide: true, cell: (member) => each(member, ({ state }) => state) },
  ];
}

/**
 * One item of `get generations -o json`: `{generation, step, reason, worldSize, movedBytes, seconds, source,
 * sentence, time}`; `reason` is the code. Scripts stand on it.
 */
export function generationToObject(generation: Generation): Readonly<Record<string, unknown>> {
  return {
    generation: generation.generation,
    step: generation.step,
    reason: generation.reason?.code ?? "",
    worldSize: generation.worldSize,
    movedBytes: generation.movedBytes,
    seconds: generation.seconds,
    source: generation.source,
    sentence: generation.reason?.sentence ?? "",
    time: generation.committedTime?.toISOString() ?? null,
  };
}

export function generationColumns(nowMs: number): readonly Column<Generation>[] {
  return [
    { title: "GENERATION", right: true, cell: ({ generation }) => `${generation}` },
    { title: "STEP", right: true, cell: ({ step }) => `${step}` },
    { title: "REASON", cell: ({ reason }) => reason?.code ?? "" },
    { title: "RANKS", right: true, cell: ({ worldSize }) => `${worldSize}` },
    { title: "SOURCE", cell: ({ source }) => source },
    { title: "MOVED", right: true, cell: ({ movedBytes }) => bytes(movedBytes) },
    { title: "TOOK", right: true, cell: (generation) => seconds(generation.seconds) },
    {
      title: "AGE",
      right: true,
      cell: ({ committedTime }) =>
        committedTime === undefined ? "" : age(nowMs - committedTime.getTime()),
    },
    { title: "MESSAGE", wide: true, cell: ({ reason }) => reason?.sentence ?? "" },
  ];
}
