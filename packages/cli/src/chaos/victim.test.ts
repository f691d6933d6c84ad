import type { Member, MemberRank } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { expect, it } from "vitest";
import { memberVictim, rankVictim } from "./victim.ts";

function rank(number: number, pid: number): MemberRank {
  const lanes = { laneBegin: number, laneEnd: number + 1 };
  return { rank: number, pid, ...lanes, ownedBlocksCount: 1, replicaBlocksCount: 1, state: "busy" };
}

function member(slot: number, pid: number, ranks: readonly MemberRank[]): Member {
  const name = `tone-m${slot}`;
  return { name, slot, incarnation: 1, state: "loaded", node: "here", pid, ranks: [...ranks] };
}

const MEMBERS = [
  member(1, 20, [rank(1, 21), rank(2, 22)]),
  member(0, 10, [rank(0, 11)]),
  member(2, 30, []), // still loads
];

it("finds a rank by its number or by chance, in the order of ranks", () => {
  expect(rankVictim(MEMBERS, { rank: 2 })).toEqual({
    label: "rank 2",
    processes: [{ role: "rank", pid: 22, agentPid: 20 }],
  });
  expect(rankVictim(MEMBERS, { rank: 3 })).toBeNull();
  const byChance = [0, 0.4, 0.9].map((choice) => rankVictim(MEMBERS, { choice })?.label);
  expect(byChance).toEqual(["rank 0", "rank 1", "rank 2"]);
  expect(rankVictim([], { choice: 0.5 })).toBeNull();
});

it("kills an agent before its ranks, by name, slot or chance", () => {
  const found = memberVictim(MEMBERS, "uid", { member: "tone-m1" });
  expect(found).toEqual({
    label: "member tone-m1",
    processes: [
      { role: "agent", pid: 20, jobUid: "uid", member: "tone-m1" },
      { role: "rank", pid: 21, agentPid: 20 },
      { role: "rank", pid: 22, agentPid: 20 },
    ],
  });
  expect(memberVictim(MEMBERS, "uid", { member: "1" })).toEqual(found);
  expect(memberVictim(MEMBERS, "uid", { member: "tone-m9" })).toBeNull();
  expect(memberVictim(MEMBERS, "uid", { choice: 0.9 })?.label).toBe("member tone-m0");
});

it("leaves processes of other machines alone", () => {
  const elsewhere = [member(0, 0, [rank(0, 0)])];
  expect(rankVictim(elsewhere, { rank: 0 })).toBeNull();
  expect(memberVictim(elsewhere, "uid", { member: "0" })).toBeNull();
});
