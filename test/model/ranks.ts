/** What a rank does between messages: join, step, leave. The loop and the commit point of the trainer, without tensors. */

import { post, tellInterrupted, withdraw } from "./outbox.ts";
import { findSeat, heldIn, isOwner } from "./plans.ts";
import {
  ALL_LANES,
  type Config,
  FIRST_STEP,
  MOVE,
  type ModelAgent,
  type ModelGang,
  type ModelRank,
  type ModelWorld,
  must,
  PER_STEP,
  SETTLE,
  type ToldPlan,
} from "./state.ts";

export function freshRank(pid: number): ModelRank {
  return {
    pid,
    place: "loading",
    plan: null,
    at: 0,
    version: 0,
    pending: "none",
    held: null,
    running: 0,
    leaves: false,
  };
}

export function gangOf(world: ModelWorld, number: number): ModelGang | undefined {
  return world.gangs.find((gang) => gang.number === number);
}

/** The rank takes the newest generation it was told of, if it stands at a boundary. */
export function regroup(world: ModelWorld, agent: ModelAgent): void {
  const { rank, prepared } = agent;
  if (rank.place !== "waiting" || prepared === null) return;
  if (rank.plan?.number === prepared.number) return;
  leaveGang(world, rank);
  if (!gangOf(world, prepared.number)) {
    world.gangs.push({
      number: prepared.number,
      size: prepared.seats.length,
      broken: false,
      arrived: 0,
      complete: -1,
      brought: [],
      ready: [],
      applied: 0,
    });
  }
  rank.plan = prepared;
  rank.place = "joining";
  arrive(world, agent, SETTLE);
}

function arrive(world: ModelWorld, agent: ModelAgent, at: number): void {
  const { rank } = agent;
  const { plan } = rank;
  rank.at = at;
  if (plan === null) return;
  const gang = gangOf(world, plan.number);
  if (gang === undefined || gang.broken) return;
  const isFirst = gang.arrived === gang.size || gang.arrived === 0;
  const mine = {
    rank: findSeat(plan, agent)?.rank ?? -1,
    version: rank.version,
    pending: rank.pending,
    held: rank.held,
  };
  gang.brought = [...(isFirst ? [] : gang.brought), mine].sort((a, b) => a.rank - b.rank);
  gang.arrived = isFirst ? 1 : gang.arrived + 1;
  if (gang.arrived === gang.size) gang.complete = at;
}

export function leaveGang(world: ModelWorld, rank: ModelRank): void {
  if (rank.plan === null) return;
  const gang = gangOf(world, rank.plan.number);
  if (gang !== undefined) gang.broken = true;
  rank.plan = null;
}

/** It goes back to the boundary, alone or because the others did, and says what it holds. */
export function stopAtBoundary(world: ModelWorld, agent: ModelAgent): void {
  const { rank } = agent;
  const wasJoining = rank.place === "joining" ? rank.plan : null;
  leaveGang(world, rank);
  rank.place = "waiting";
  rank.leaves = false;
  if (wasJoining !== null && agent.prepared?.number === wasJoining.number) {
    const { member, incarnation } = agent;
    post(agent, "failed", {
      kind: "generationFailed",
      member,
      incarnation,
      generation: wasJoining.number,
      reason: { code: "PeerLost", sentence: "a peer left" },
    });
    agent.prepared = null;
  }
  reportHolding(agent);
  regroup(world, agent);
}

export function reportHolding(agent: ModelAgent): void {
  const { rank } = agent;
  if (rank.running !== 0 && rank.running !== agent.running) return;
  agent.waits = true;
  tellInterrupted(agent);
}

/** The collective it stands at has passed for everybody. */
export function pass(world: ModelWorld, agent: ModelAgent, config: Config): void {
  const { rank } = agent;
  const { plan } = rank;
  const gang = plan === null ? undefined : gangOf(world, plan.number);
  if (plan === null || gang === undefined) return;
  if (rank.at === SETTLE) {
    if (settle(rank, plan, gang)) arrive(world, agent, MOVE);
    else stopAtBoundary(world, agent);
  } else if (rank.at === MOVE) adopt(world, agent, plan, gang);
  else step(world, agent, config, gang);
}

/** Finishes the pending step or drops it; or forgets everything when the state comes from elsewhere. */
function settle(rank: ModelRank, { source }: ToldPlan, gang: ModelGang): boolean {
  if (source.kind !== "live") {
    rank.held = null;
    rank.pending = "none";
    rank.version = 0;
    return true;
  }
  if (rank.held === null) return true;
  if (rank.version === source.targetVersion - 1 && rank.pending !== "none") {
    const isKnown = gang.brought.some(
      ({ pending, version }) => pending === "agreed" && version === rank.version,
    );
    const isApplied = gang.brought.some(({ version }) => version === source.targetVersion);
    if (isKnown || (isApplied && rank.pending === "agreed")) rank.version++;
  }
  rank.pending = "none";
  return rank.version === source.targetVersion;
}

function adopt(world: ModelWorld, agent: ModelAgent, plan: ToldPlan, gang: ModelGang): void {
  const { rank } = agent;
  const mine = findSeat(plan, agent)?.rank ?? -1;
  if (!comesFromSomewhere(plan, mine, gang)) {
    stopAtBoundary(world, agent);
    return;
  }
  if (plan.source.kind !== "fresh") rank.version = plan.step;
  rank.place = "verdict";
  gang.ready = [...gang.ready, mine];
  const owned = heldIn(plan, mine, true).length;
  const { member, incarnation } = agent;
  post(agent, "ready", {
    kind: "ready",
    member,
    incarnation,
    generation: plan.number,
    seconds: 0,
    evidence: [
      {
        rank: mine,
        ownedBlocks: owned,
        replicaBlocks: heldIn(plan, mine).length - owned,
        version: rank.version,
        sentBytes: bytesMoved(plan, "sourceRank", mine),
        receivedBytes: bytesMoved(plan, "targetRank", mine),
      },
    ],
  });
}

/** Of the plan's transfer, what this rank gives or gets. */
function bytesMoved({ source }: ToldPlan, of: "sourceRank" | "targetRank", rank: number): number {
  if (!("transfer" in source)) return 0;
  return source.transfer.moves.reduce(
    (sum, move) => (move[of] === rank ? sum + move.bytes : sum),
    0,
  );
}

/** Every block it shall hold is kept, or sent by a rank that has it at the version of the plan. */
function comesFromSomewhere(plan: ToldPlan, mine: number, gang: ModelGang): boolean {
  const { source } = plan;
  if (source.kind !== "live") return true;
  const has = (rank: number, block: number): boolean => {
    const one = gang.brought.find((brought) => brought.rank === rank);
    if (one?.held == null) return false;
    const before = one.held.seats.find(({ pid }) => pid === plan.seats[rank]?.pid)?.rank ?? -1;
    return one.version === source.targetVersion && heldIn(one.held, before).includes(block);
  };
  return heldIn(plan, mine).every((block) => {
    if (has(mine, block)) return true;
    const move = source.transfer.moves.find(
      ({ targetRank, firstBlock, blocks }) =>
        targetRank === mine && block >= firstBlock && block < firstBlock + blocks,
    );
    return move !== undefined && has(move.sourceRank, block);
  });
}

/** The generation is committed: the rank runs in it, and says again what the journal may have missed. */
export function run(world: ModelWorld, agent: ModelAgent, config: Config): void {
  const { rank } = agent;
  const { plan } = rank;
  if (plan === null) return;
  rank.held = plan;
  rank.running = plan.number;
  rank.version = plan.step;
  rank.leaves = false;
  rank.place = "stepping";
  for (let step = plan.recordedStep + 1; step <= plan.step; step++) addRows(agent, step, ALL_LANES);
  nextStep(world, agent, config);
}

function nextStep(world: ModelWorld, agent: ModelAgent, config: Config): void {
  const { rank } = agent;
  const { plan } = rank;
  if (plan === null) return;
  if (rank.version >= config.totalSteps) {
    stageSave(agent, plan, "final");
    const { member, incarnation } = agent;
    post(agent, "finished", {
      kind: "finished",
      member,
      incarnation,
      generation: plan.number,
      step: rank.version,
    });
    rank.place = "waiting";
    regroup(world, agent);
    return;
  }
  if (rank.leaves || (agent.prepared !== null && agent.prepared.number > plan.number)) {
    stopAtBoundary(world, agent);
    return;
  }
  rank.pending = "none";
  arrive(world, agent, FIRST_STEP + PER_STEP * rank.version);
}

function step(world: ModelWorld, agent: ModelAgent, config: Config, gang: ModelGang): void {
  const { rank } = agent;
  const { plan } = rank;
  if (plan === null) return;
  const collective = (rank.at - FIRST_STEP) % PER_STEP;
  if (collective < 2) {
    const isMixed = gang.brought.some(
      ({ version }) => Math.abs(version - rank.version) > (collective === 0 ? 0 : 1),
    );
    must("a step mixes no versions", !isMixed, `generation ${plan.number}`);
    rank.pending = collective === 0 ? "reduced" : "agreed";
    arrive(world, agent, rank.at + 1);
    return;
  }
  rank.version++;
  rank.pending = "none";
  gang.applied = Math.max(gang.applied, rank.version);
  oneGenerationTrains(world, agent, plan);
  const lanes = plan.lanes.find((one) => one.rank === findSeat(plan, agent)?.rank);
  let mask = 0;
  for (let lane = lanes?.begin ?? 0; lane < (lanes?.end ?? 0); lane++) mask |= 1 << lane;
  addRows(agent, rank.version, mask);
  if (rank.version % config.saveEverySteps === 0 && rank.version < config.totalSteps)
    stageSave(agent, plan, "periodic");
  nextStep(world, agent, config);
}

function oneGenerationTrains(world: ModelWorld, agent: ModelAgent, plan: ToldPlan): void {
  const live = "live" in world.core ? world.core.live : null;
  const newest = live?.committed ?? null;
  if (newest === null || newest.number <= plan.number || agent.rank.version <= newest.step) return;
  const member = live?.members.find(({ name }) => name === agent.member);
  const isFenced =
    member?.incarnation !== agent.incarnation ||
    !member.ranks.some(({ pid }) => pid === agent.rank.pid);
  must(
    "one generation trains at a time",
    isFenced,
    `${agent.member} applied step ${agent.rank.version} of generation ${plan.number}, ${newest.number} is committed from ${newest.step}`,
  );
}

function addRows(agent: ModelAgent, step: number, mask: number): void {
  if (mask === 0) return;
  const known = agent.steps.find(([one]) => one === step)?.[1] ?? 0;
  agent.steps = [
    ...agent.steps.filter(([one]) => one !== step),
    [step, known | mask] as const,
  ].sort(([a], [b]) => a - b);
}

function stageSave(agent: ModelAgent, plan: ToldPlan, trigger: "periodic" | "final"): void {
  const { member, incarnation, rank } = agent;
  const key = `${plan.number} ${rank.version}`;
  const staged = {
    generation: plan.number,
    step: rank.version,
    writer: findSeat(plan, agent)?.rank ?? -1,
  };
  const isKnown = agent.staged.some(
    (one) => one.generation === staged.generation && one.step === staged.step,
  );
  if (isOwner(plan, agent) && !isKnown) agent.staged = [...agent.staged, staged];
  post(agent, `staged ${key}`, {
    kind: "staged",
    member,
    incarnation,
    generation: plan.number,
    step: rank.version,
    trigger,
  });
}

/** The process of the rank ends; its agent says so and starts another. */
export function rankDies(world: ModelWorld, agent: ModelAgent): void {
  const { rank, member, incarnation } = agent;
  leaveGang(world, rank);
  agent.rank = freshRank(++world.pids);
  agent.slotGeneration = 0;
  agent.waits = false;
  withdraw(agent, "loaded");
  post(agent, `exit ${rank.pid}`, {
    kind: "rankExit",
    member,
    incarnation,
    localRank: 0,
    pid: rank.pid,
    cause: "killed",
    sentence: "killed",
    respawning: true,
  });
  if (agent.prepared !== null)
    post(agent, "failed", {
      kind: "generationFailed",
      member,
      incarnation,
      generation: agent.prepared.number,
      reason: { code: "RankExit", sentence: "its rank ended" },
    });
  withdraw(agent, "interrupted");
}
