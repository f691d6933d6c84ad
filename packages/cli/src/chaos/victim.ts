import type { Member } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { pick } from "./seeded.ts";

/** A process of a job, and what its command line and its parent must say before anything is sent to it. */
export type JobProcess =
  | {
      readonly role: "agent";
      readonly pid: number;
      readonly jobUid: string;
      readonly member: string;
    }
  | { readonly role: "rank"; readonly pid: number; readonly agentPid: number };

export interface Victim {
  /** `rank 1`, `member tone-m0`. */
  readonly label: string;
  /** In the order in which they get the signal: an agent before its ranks, so that it replaces none of them. */
  readonly processes: readonly JobProcess[];
}

/** Pure: a rank by its number, else by a number in [0, 1) among those that live; null when there is none. */
export function rankVictim(
  members: readonly Member[],
  which: { readonly rank: number } | { readonly choice: number },
): Victim | null {
  const ranks = members.flatMap((member) =>
    member.ranks
      .filter(({ pid }) => pid > 0 && member.pid > 0)
      .map(({ rank, pid }) => ({ rank, pid, agentPid: member.pid })),
  );
  ranks.sort((a, b) => a.rank - b.rank);
  const found =
    "rank" in which ? ranks.find(({ rank }) => rank === which.rank) : pick(ranks, which.choice);
  if (found === undefined) return null;
  const { rank, pid, agentPid } = found;
  return { label: `rank ${rank}`, processes: [{ role: "rank", pid, agentPid }] };
}

/** Pure: a member by its name or slot, else by a number in [0, 1) among those that train; null when there is none. */
export function memberVictim(
  members: readonly Member[],
  jobUid: string,
  which: { readonly member: string } | { readonly choice: number },
): Victim | null {
  const training = members.filter(({ pid, ranks }) => pid > 0 && ranks.length > 0);
  const found =
    "member" in which
      ? members.find(
          ({ name, slot, pid }) => pid > 0 && (name === which.member || `${slot}` === which.member),
        )
      : pick(training, which.choice);
  if (found === undefined) return null;
  const { name, pid } = found;
  return {
    label: `member ${name}`,
    processes: [
      { role: "agent", pid, jobUid, member: name },
      ...found.ranks
        .filter((rank) => rank.pid > 0)
        .map((rank) => ({ role: "rank" as const, pid: rank.pid, agentPid: pid })),
    ],
  };
}
