import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scheduleCycle } from "./cycle.ts";
import { explainRefusals, explainWait } from "./explain.ts";
import { findCandidates } from "./fit.ts";
import type { Gang, WaitingJob } from "./gang.ts";
import { compareTurn } from "./order.ts";
import { placeGang } from "./place.ts";
import { heldByQueue } from "./quota.ts";
import { SCORERS, scoreOf } from "./score.ts";
import {
  type ClusterSnapshot,
  freeSlots,
  type Holding,
  localSnapshot,
  type Node,
  type Queue,
  withHoldings,
  withoutJob,
} from "./snapshot.ts";

const GIB = 1024 ** 3;

function aNode(name: string, more: Partial<Node> = {}): Node {
  return {
    name,
    rack: "r1",
    device: "H100",
    slots: 8,
    bytesPerSlot: 80 * GIB,
    closedBecause: null,
    ...more,
  };
}

function aGang(members: number, slotsPerMember: number, more: Partial<Gang> = {}): Gang {
  return { members, slotsPerMember, device: null, bytesPerRank: GIB, ...more };
}

function aJob(name: string, gang: Gang, more: Partial<WaitingJob> = {}): WaitingJob {
  return {
    uid: `uid-${name}`,
    name,
    queue: "default",
    priority: 0,
    submittedMs: 0,
    gang,
    membersMin: gang.members,
    ...more,
  };
}

const open: Queue = { name: "default", nominalSlots: {}, stoppedBecause: null };

function aCluster(nodes: readonly Node[], more: Partial<ClusterSnapshot> = {}): ClusterSnapshot {
  return { nodes, holdings: [], queues: [open], ...more };
}

function heldOn(node: string, slots: number, queue = "default"): Holding {
  return { job: "somebody", queue, node, slots };
}

describe("placing a gang", () => {
  it("puts it into the smallest rack that takes it whole", () => {
    const nodes = ["a", "b"].map((name) => aNode(name, { rack: "large" }));
    const snapshot = aCluster([...nodes, aNode("c", { rack: "small" })]);
    expect(placeGang(aGang(2, 4), snapshot)).toEqual({
      placed: true,
      device: "H100",
      assignments: [
        { member: 0, node: "c" },
        { member: 1, node: "c" },
      ],
    });
  });

  it("goes over racks only when no rack takes it", () => {
    const racks = [
      aNode("a", { rack: "r1" }),
      aNode("b", { rack: "r2" }),
      aNode("c", { rack: "r2" }),
    ];
    const placement = placeGang(aGang(3, 8), aCluster(racks));
    expect(placement.placed && placement.assignments.map(({ node }) => node).sort()).toEqual([
      "a",
      "b",
      "c",
    ]);
  });

  it("leaves no splinters: a node it fills before an empty one", () => {
    const snapshot = aCluster([aNode("a"), aNode("b")], { holdings: [heldOn("b", 6)] });
    const placement = placeGang(aGang(1, 2), snapshot);
    expect(placement).toMatchObject({ placed: true, assignments: [{ member: 0, node: "b" }] });
  });

  it("takes one device type for all", () => {
    const snapshot = aCluster([aNode("a", { device: "A100" }), aNode("b", { device: "H100" })]);
    expect(placeGang(aGang(2, 8), snapshot)).toMatchObject({
      placed: false,
      reason: { code: "GangDoesNotFit" },
    });
  });

  it("breaks ties by name, not by the order of the snapshot", () => {
    const nodes = ["c", "a", "b"].map((name) => aNode(name));
    for (const order of [nodes, [...nodes].reverse()]) {
      const placement = placeGang(aGang(2, 8), aCluster(order));
      expect(placement.placed && placement.assignments.map(({ node }) => node)).toEqual(["a", "b"]);
    }
  });

  it("says why not, with numbers and nodes", () => {
    const snapshot = aCluster(
      [
        aNode("a"),
        aNode("b", { closedBecause: "is cordoned" }),
        aNode("c", { bytesPerSlot: GIB / 2 }),
        aNode("d", { slots: 2 }),
        aNode("e", { device: "cpu" }),
      ],
      { holdings: [heldOn("a", 5)] },
    );
    const placement = placeGang(aGang(2, 4, { device: "H100" }), snapshot);
    expect(placement).toEqual({
      placed: false,
      reason: {
        code: "GangDoesNotFit",
        sentence:
          "needs 2 members of 4 slots, there is room for 0: node a has 3 of 8 slots free, a member needs 4; node b is cordoned; node c gives a rank 512 MiB, the plan needs 1.00 GiB; 2 more: TooFewSlots 1, OtherDevice 1",
      },
    });
  });
});

describe("one machine", () => {
  it("is a cluster of one node whose slots are its cores", () => {
    const snapshot = localSnapshot({ name: "here", slots: 2, memoryBytes: 8 * GIB });
    expect(snapshot.nodes[0]).toMatchObject({ slots: 2, bytesPerSlot: 4 * GIB, device: "cpu" });
    const outcome = scheduleCycle(snapshot, [aJob("a", aGang(2, 1))], 0);
    expect(outcome.placements[0]).toMatchObject({
      job: "uid-a",
      device: "cpu",
      reason: { code: "GangScheduled", sentence: "2 members of 1 slot on one node" },
    });
  });

  it("refuses for good what it can never hold", () => {
    const snapshot = localSnapshot({ name: "here", slots: 2, memoryBytes: 8 * GIB });
    const { waits } = scheduleCycle(snapshot, [aJob("a", aGang(3, 1))], 0);
    expect(waits).toEqual([
      {
        job: "uid-a",
        reason: {
          code: "NeverFits",
          sentence:
            "even an empty cluster is too small: needs 3 members of 1 slot, there is room for 2",
        },
      },
    ]);
  });
});

describe("a cycle", () => {
  it("goes by priority, then age, then name", () => {
    const jobs = [
      aJob("young", aGang(1, 1), { submittedMs: 9 }),
      aJob("b", aGang(1, 1), { submittedMs: 5 }),
      aJob("a", aGang(1, 1), { submittedMs: 5 }),
      aJob("urgent", aGang(1, 1), { submittedMs: 99, priority: 10 }),
    ];
    expect([...jobs].sort(compareTurn).map(({ name }) => name)).toEqual([
      "urgent",
      "a",
      "b",
      "young",
    ]);
  });

  it("keeps the turn of a job that waits for room", () => {
    const snapshot = aCluster([aNode("a")], { holdings: [heldOn("a", 4)] });
    const jobs = [
      aJob("large", aGang(1, 8), { priority: 5 }),
      aJob("small", aGang(1, 1), { submittedMs: 1 }),
    ];
    const { placements, waits } = scheduleCycle(snapshot, jobs, 192_000);
    expect(placements).toEqual([]);
    expect(waits.map(({ reason }) => reason)).toEqual([
      {
        code: "GangDoesNotFit",
        sentence:
          "needs 1 member of 8 slots, there is room for 0: node a has 4 of 8 slots free, a member needs 8",
      },
      {
        code: "NotItsTurn",
        sentence:
          "job large is before it (priority 5, waiting 3m12s) and takes the next room on that device",
      },
    ]);
  });

  it("lets others pass a job that its own quota holds, or that fits nowhere", () => {
    const queues: Queue[] = [
      open,
      { name: "small", nominalSlots: { H100: 4 }, stoppedBecause: null },
    ];
    const snapshot = aCluster([aNode("a")], { queues });
    const jobs = [
      aJob("never", aGang(9, 8), { priority: 9 }),
      aJob("over", aGang(1, 8), { priority: 8, queue: "small" }),
      aJob("fine", aGang(1, 8)),
    ];
    const { placements, waits } = scheduleCycle(snapshot, jobs, 0);
    expect(placements.map(({ job }) => job)).toEqual(["uid-fine"]);
    expect(waits.map(({ reason }) => reason.code)).toEqual(["NeverFits", "QuotaExceeded"]);
    expect(waits[1]?.reason.sentence).toBe(
      "queue small holds 0 of its 4 H100 slots; the job needs 8",
    );
  });

  it("starts an elastic job with what there is", () => {
    const snapshot = aCluster([aNode("a")], { holdings: [heldOn("a", 5)] });
    const { placements } = scheduleCycle(snapshot, [aJob("e", aGang(4, 1), { membersMin: 2 })], 0);
    expect(placements[0]?.assignments).toHaveLength(3);
    expect(placements[0]?.reason.sentence).toBe(
      "3 members of 1 slot on one node; 4 were asked for, the rest may join",
    );
  });

  it("names unknown and stopped queues", () => {
    const queues = [open, { name: "held", nominalSlots: {}, stoppedBecause: "maintenance" }];
    const jobs = [
      aJob("a", aGang(1, 1), { queue: "reserach" }),
      aJob("b", aGang(1, 1), { queue: "held" }),
    ];
    const { waits } = scheduleCycle(aCluster([aNode("a")], { queues }), jobs, 0);
    expect(waits.map(({ reason }) => reason.sentence)).toEqual([
      'there is no queue "reserach"; known: default, held',
      "queue held admits nothing: maintenance",
    ]);
  });

  it("uses another device when the first by name is taken", () => {
    const snapshot = aCluster([aNode("a", { device: "A100" }), aNode("b")], {
      holdings: [heldOn("a", 8)],
    });
    const { placements } = scheduleCycle(snapshot, [aJob("j", aGang(1, 8))], 0);
    expect(placements).toMatchObject([{ device: "H100", assignments: [{ node: "b" }] }]);
  });
});

describe("snapshots", () => {
  it("answer what-if questions", () => {
    const snapshot = aCluster([aNode("a")]);
    const held = withHoldings(snapshot, [heldOn("a", 8)]);
    expect(freeSlots(held).get("a")).toBe(0);
    expect(withoutJob(held, "somebody")).toEqual(snapshot);
    const shrunk = aCluster([aNode("a", { slots: 4 })], { holdings: [heldOn("a", 8)] });
    expect(freeSlots(shrunk).get("a")).toBe(0);
  });

  it("have a paragraph for a wait", () => {
    expect(explainWait(aJob("tone", aGang(1, 1)), "needs more room", 65_000)).toBe(
      "Job tone has waited 1m5s in queue default: needs more room.",
    );
    expect(explainRefusals([])).toBe("");
  });
});

const nodes = fc
  .uniqueArray(fc.stringMatching(/^[a-e]{1,3}$/), { minLength: 1, maxLength: 6 })
  .chain((names) =>
    fc.tuple(
      ...names.map((name) =>
        fc.record({
          name: fc.constant(name),
          rack: fc.constantFrom("r1", "r2"),
          device: fc.constantFrom("cpu", "H100"),
          slots: fc.integer({ min: 0, max: 8 }),
          bytesPerSlot: fc.constantFrom(GIB, 4 * GIB),
          closedBecause: fc.constantFrom(null, null, null, "is cordoned"),
        }),
      ),
    ),
  );
const waiting = fc
  .record({
    name: fc.stringMatching(/^[a-z]{1,3}$/),
    queue: fc.constantFrom("default", "small"),
    priority: fc.constantFrom(0, 0, 5),
    submittedMs: fc.nat(3),
    members: fc.integer({ min: 1, max: 5 }),
    less: fc.nat(4),
    slotsPerMember: fc.integer({ min: 1, max: 4 }),
    device: fc.constantFrom(null, "cpu", "H100"),
    bytesPerRank: fc.constantFrom(GIB, 2 * GIB),
  })
  .map(({ members, less, slotsPerMember, device, bytesPerRank, ...rest }) =>
    aJob(rest.name, aGang(members, slotsPerMember, { device, bytesPerRank }), {
      ...rest,
      membersMin: Math.max(1, members - less),
    }),
  );
const clusters = fc.record({
  nodes,
  jobs: fc.uniqueArray(waiting, { maxLength: 6, selector: ({ uid }) => uid }),
  quota: fc.nat(6),
});

function expectSuits(all: readonly Node[], at: { node: string; device: string }, gang: Gang): void {
  const on = all.find(({ name }) => name === at.node);
  expect(on).toMatchObject({ device: at.device, closedBecause: null });
  expect(on?.bytesPerSlot).toBeGreaterThanOrEqual(gang.bytesPerRank);
}

function expectWithinBounds(world: ClusterSnapshot, quota: number): void {
  for (const node of world.nodes) {
    const held = world.holdings.filter((holding) => holding.node === node.name);
    expect(held.reduce((sum, { slots }) => sum + slots, 0)).toBeLessThanOrEqual(node.slots);
  }
  for (const device of ["cpu", "H100"]) {
    expect(heldByQueue(world, "small", device)).toBeLessThanOrEqual(quota);
  }
}

describe("any cluster and any jobs", () => {
  const queuesOf = (quota: number): Queue[] => [
    open,
    { name: "small", nominalSlots: { cpu: quota, H100: quota }, stoppedBecause: null },
  ];

  it("places whole gangs, never overcommits, keeps quotas, and answers every job once", () => {
    fc.assert(
      fc.property(clusters, ({ nodes: all, jobs, quota }) => {
        const snapshot = aCluster(all, { queues: queuesOf(quota) });
        const { placements, waits } = scheduleCycle(snapshot, jobs, 0);
        const answered = [...placements, ...waits].map(({ job }) => job).sort();
        expect(answered).toEqual(jobs.map(({ uid }) => uid).sort());
        let world = snapshot;
        for (const { job: uid, assignments, device } of placements) {
          const job = jobs.find((one) => one.uid === uid);
          if (!job) throw new Error("a job of nobody");
          expect(assignments.length).toBeGreaterThanOrEqual(job.membersMin);
          expect(assignments.length).toBeLessThanOrEqual(job.gang.members);
          expect(assignments.map(({ member }) => member)).toEqual([...assignments.keys()]);
          for (const { node } of assignments) expectSuits(all, { node, device }, job.gang);
          const slots = job.gang.slotsPerMember;
          world = withHoldings(
            world,
            assignments.map(({ node }) => ({ job: uid, queue: job.queue, node, slots })),
          );
        }
        expectWithinBounds(world, quota);
        for (const { reason } of waits) expect(reason.sentence).not.toBe("");
      }),
      { numRuns: 500 },
    );
  });

  it("does not depend on the order of nodes or jobs", () => {
    fc.assert(
      fc.property(clusters, ({ nodes: all, jobs, quota }) => {
        const queues = queuesOf(quota);
        const forth = scheduleCycle(aCluster(all, { queues }), jobs, 0);
        const back = scheduleCycle(
          aCluster([...all].reverse(), { queues }),
          [...jobs].reverse(),
          0,
        );
        expect(back).toEqual(forth);
      }),
      { numRuns: 300 },
    );
  });

  it("leaves a job waiting for room only when its least gang really does not fit", () => {
    fc.assert(
      fc.property(nodes, waiting, (all, job) => {
        const snapshot = aCluster(all, { queues: queuesOf(99) });
        const { placements } = scheduleCycle(snapshot, [job], 0);
        const fits = placeGang({ ...job.gang, members: job.membersMin }, snapshot).placed;
        expect(placements.length === 1).toBe(fits);
      }),
    );
  });

  it("decides on 512 members among 1,000 nodes in well under a second", () => {
    const rack = (i: number): string => `r${i % 40}`;
    const many = Array.from({ length: 1000 }, (_, i) => aNode(`n${i}`, { rack: rack(i) }));
    const holdings = many.slice(0, 400).map(({ name }) => heldOn(name, 4));
    const begin = performance.now();
    const { placements } = scheduleCycle(
      aCluster(many, { holdings }),
      [aJob("j", aGang(512, 8))],
      0,
    );
    expect(placements[0]?.assignments).toHaveLength(512);
    expect(performance.now() - begin).toBeLessThan(1000);
  });

  it("scores between 0 and 1", () => {
    fc.assert(
      fc.property(nodes, waiting, (all, { gang }) => {
        for (const candidate of findCandidates(aCluster(all), gang).candidates) {
          const standing = { gang, placedInRack: new Map([["r1", 1]]), left: gang.members };
          for (const { score } of SCORERS) {
            expect(score(candidate, standing)).toBeGreaterThanOrEqual(0);
            expect(score(candidate, standing)).toBeLessThanOrEqual(1);
          }
          expect(scoreOf(candidate, standing)).toBeLessThanOrEqual(1);
        }
      }),
    );
  });
});
