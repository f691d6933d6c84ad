/** What an agent does with what it is told; its rank is part of it. */

import type { MemberEvent } from "../../packages/control-plane/src/core/events.ts";
import type { DecidedSave, SaveState } from "../../packages/control-plane/src/core/state.ts";
import { post, tellInterrupted, withdraw, withdrawPrefix } from "./outbox.ts";
import { findSeat, isOwner } from "./plans.ts";
import { freshRank, leaveGang, regroup, reportHolding, run } from "./ranks.ts";
import type { Config, ModelAgent, ModelWorld, Told, ToldPlan } from "./state.ts";

export function freshAgent(world: ModelWorld, member: string, incarnation: number): ModelAgent {
  return {
    member,
    incarnation,
    connected: false,
    noticed: true,
    up: [],
    down: [],
    told: [],
    standing: [],
    steps: [],
    newest: 0,
    prepared: null,
    running: 0,
    slotGeneration: 0,
    waits: false,
    rank: freshRank(++world.pids),
    staged: [],
    writes: [],
  };
}

export function helloOf({ member, incarnation, rank, running }: ModelAgent): MemberEvent {
  return {
    kind: "hello",
    member,
    incarnation,
    pid: 0,
    loaded: rank.place !== "loading",
    runningGeneration: running,
  };
}

export function hear(world: ModelWorld, agent: ModelAgent, told: Told, config: Config): void {
  switch (told.kind) {
    case "load":
    case "stop":
      return;
    case "prepare":
      prepare(world, agent, told.plan);
      return;
    case "commit":
      if (agent.prepared?.number === told.generation) commit(world, agent, told.step, config);
      return;
    case "discard":
      discard(world, agent, told.generation);
      return;
    case "persist":
      persist(agent, told.begun);
      return;
    case "decided":
      decided(agent, told.save);
      return;
    default:
      told satisfies never;
  }
}

function prepare(world: ModelWorld, agent: ModelAgent, plan: ToldPlan): void {
  const { rank } = agent;
  if (plan.number <= agent.newest) return;
  agent.newest = plan.number;
  if (findSeat(plan, agent) === undefined) return;
  agent.prepared = plan;
  agent.waits = false;
  withdraw(agent, "ready", "failed", "finished", "interrupted");
  if (rank.place === "verdict") {
    leaveGang(world, rank);
    rank.place = "waiting";
  }
  regroup(world, agent);
}

function commit(world: ModelWorld, agent: ModelAgent, step: number, config: Config): void {
  const { prepared, rank } = agent;
  if (prepared === null) return;
  agent.prepared = null;
  agent.running = prepared.number;
  agent.slotGeneration = prepared.number;
  agent.waits = false;
  withdraw(agent, "ready", "interrupted", "finished");
  if (rank.place !== "verdict" || rank.plan?.number !== prepared.number) return;
  if (step !== prepared.step) throw new Error("a commit at another step than was prepared");
  run(world, agent, config);
}

function discard(world: ModelWorld, agent: ModelAgent, generation: number): void {
  const { rank } = agent;
  if (agent.prepared?.number === generation) {
    agent.prepared = null;
    withdraw(agent, "ready", "failed");
    if (rank.place !== "verdict" || rank.plan?.number !== generation) return;
    leaveGang(world, rank);
    rank.place = "waiting";
    reportHolding(agent);
  } else if (generation > agent.newest) {
    agent.newest = generation;
    if (rank.place !== "loading" && agent.slotGeneration !== agent.running) agent.waits = true;
    tellInterrupted(agent);
  } else if (agent.running === generation) {
    if (rank.place === "stepping") rank.leaves = true;
    else if (rank.place === "waiting" && rank.running === generation) {
      leaveGang(world, rank);
      reportHolding(agent);
    }
  }
}

function persist(agent: ModelAgent, { key }: NonNullable<SaveState["begun"]>): void {
  const { saveId, step, generation } = key;
  const place = `save ${saveId}`;
  const said = agent.standing.find(([one]) => one === place);
  if (said !== undefined) {
    post(agent, place, said[1]);
    return;
  }
  const staged = agent.staged.find((one) => one.generation === generation && one.step === step);
  if (staged !== undefined) {
    if (!agent.writes.some((one) => one.saveId === saveId))
      agent.writes = [...agent.writes, { ...staged, saveId }];
    return;
  }
  const plan = agent.rank.held;
  // Who owned nothing has nothing to write.
  if (plan?.number === generation && !isOwner(plan, agent)) return;
  const { member, incarnation } = agent;
  post(agent, place, {
    kind: "saveFailed",
    member,
    incarnation,
    key,
    writer: 0,
    reason: { code: "NOT_STAGED", sentence: "not staged here" },
  });
}

function decided(agent: ModelAgent, { generation, step, key }: DecidedSave): void {
  agent.staged = agent.staged.filter((one) => one.generation !== generation || one.step !== step);
  withdraw(agent, `staged ${generation} ${step}`);
  if (key === null) return;
  withdraw(agent, `save ${key.saveId}`);
  agent.writes = agent.writes.filter(({ saveId }) => saveId !== key.saveId);
}

/** The model is in memory. */
export function load(world: ModelWorld, agent: ModelAgent): void {
  const { rank, member, incarnation } = agent;
  rank.place = "waiting";
  withdrawPrefix(agent, "exit ");
  const ranks = [{ localRank: 0, pid: rank.pid, holding: null }];
  post(agent, "loaded", { kind: "loaded", member, incarnation, facts: world.facts, ranks });
  regroup(world, agent);
}
