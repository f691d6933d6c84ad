/** The control plane's process around the real core: decides, tells, performs, ends at any moment, comes back. */

import type { JobEvent, Outcome } from "../../packages/control-plane/src/core/events.ts";
import { NOTHING_SPENT } from "../../packages/control-plane/src/core/failure.ts";
import { POLICY_DEFAULT } from "../../packages/control-plane/src/core/policy.ts";
import type { Effect, JobState } from "../../packages/control-plane/src/core/state.ts";
import type { Core } from "../sim/plane.ts";
import { freshAgent, helloOf } from "./agents.ts";
import { abortSave, beginSave, chooseHead, reportPrepared } from "./desk.ts";
import { decisionHolds } from "./invariants.ts";
import { leaveGang } from "./ranks.ts";
import { ALL_LANES, type ModelAgent, type ModelWorld } from "./state.ts";

/** Time does not run: what waits for it waits until a move says that it is over. */
const NOW = 0;
const OVER_MS = -1e9;

export function deliver(world: ModelWorld, event: JobEvent, core: Core): void {
  const before = world.core;
  const { state } = core.decide(before, event, NOW, POLICY_DEFAULT);
  if (state === before) return;
  world.core = timeless(state);
  decisionHolds(before, world, event);
  for (const agent of world.agents) update(world, agent, core);
}

/** Counters that only end a job which fails again and again are held at nothing: this search has few faults. */
function timeless(state: JobState): JobState {
  if (state.phase !== "active") return state;
  const { live } = state;
  const members = live.members.map((member) => ({
    ...member,
    launchedMs: 0,
    silentSinceMs: member.silentSinceMs === null ? null : 0,
  }));
  return {
    ...state,
    live: {
      ...live,
      members,
      spent: NOTHING_SPENT,
      formationTries: 0,
      retryAtMs: live.retryAtMs > NOW ? 1 : 0,
      waitingSinceMs: live.waitingSinceMs === null ? null : 0,
      prepared: live.prepared === null ? null : { ...live.prepared, sinceMs: 0 },
      save: live.save === null ? null : { ...live.save, sinceMs: 0 },
    },
  };
}

function update(world: ModelWorld, agent: ModelAgent, core: Core): void {
  if (!agent.connected) return;
  const live = "live" in world.core ? world.core.live : null;
  const member = live?.members.find(({ name }) => name === agent.member);
  if (member !== undefined && member.incarnation !== agent.incarnation) {
    disconnect(agent);
    agent.noticed = true;
    return;
  }
  for (const directive of core.directivesFor(world.core, agent.member)) {
    if (agent.told.includes(directive.key)) continue;
    agent.told = [...agent.told, directive.key];
    if (directive.kind === "load" || directive.kind === "stop") continue;
    if (directive.kind === "prepare")
      agent.down.push({ ...directive, plan: { ...directive.plan, recordedStep: live?.step ?? 0 } });
    else agent.down.push(directive);
  }
}

export function disconnect(agent: ModelAgent): void {
  agent.connected = false;
  agent.noticed = false;
  agent.up = [];
  agent.down = [];
  agent.told = [];
}

/** False when this incarnation was replaced: it ends. */
export function connect(world: ModelWorld, agent: ModelAgent, core: Core): boolean {
  const live = "live" in world.core ? world.core.live : null;
  const member = live?.members.find(({ name }) => name === agent.member);
  if (member?.incarnation !== agent.incarnation) return false;
  agent.connected = true;
  agent.noticed = true;
  agent.up = [helloOf(agent), ...agent.standing.map(([, said]) => said)];
  update(world, agent, core);
  return true;
}

/** The lanes that an agent tells go into the journal, and are acknowledged. */
export function record(world: ModelWorld, agent: ModelAgent, core: Core): void {
  const rows = [...world.rows];
  for (const [step, lanes] of agent.steps) rows[step - 1] = (rows[step - 1] ?? 0) | lanes;
  world.rows = rows.map((lanes) => lanes ?? 0);
  const missing = rows.findIndex((lanes) => lanes !== ALL_LANES);
  const step = missing < 0 ? rows.length : missing;
  agent.steps = [];
  deliver(world, { kind: "stepped", step, facts: null, laneTimes: [] }, core);
}

export function endAgent(world: ModelWorld, agent: ModelAgent): void {
  leaveGang(world, agent.rank);
  world.agents = world.agents.filter((one) => one !== agent);
  const { member, incarnation } = agent;
  if (!world.isUp) return;
  world.late = [
    ...world.late,
    { kind: "gone", member, incarnation, cause: "node", sentence: "the process ended" },
  ];
}

export function crash(world: ModelWorld): void {
  world.isUp = false;
  world.answers = [];
  // What only the process knew is gone with it.
  world.late = world.late.filter(({ kind }) => kind !== "gone");
  for (const agent of world.agents) {
    if (agent.connected) disconnect(agent);
    agent.noticed = true;
  }
}

export function restart(world: ModelWorld, core: Core): void {
  world.isUp = true;
  const { core: journal } = world;
  if (journal.phase !== "active") return;
  world.core = { ...journal, live: core.silenceAll(journal.live, NOW) };
  for (const { name, incarnation, state } of journal.live.members) {
    const isLaunching = journal.effects.some(({ id }) => id === `launch:${name}:${incarnation}`);
    const isRunning = world.agents.some(
      (one) => one.member === name && one.incarnation === incarnation,
    );
    if (state === "lost" || isLaunching || isRunning) continue;
    const sentence = "its process was gone";
    deliver(world, { kind: "gone", member: name, incarnation, cause: "node", sentence }, core);
  }
}

/** Does the outside part of an effect. `now`: it is answered at once; else the answer is on its way. */
export function perform(world: ModelWorld, effect: Effect): { outcome: Outcome; now: boolean } {
  const done: Outcome = { kind: "done" };
  switch (effect.kind) {
    case "launchMember": {
      const { member, incarnation } = effect;
      const isRunning = world.agents.some(
        (one) => one.member === member && one.incarnation === incarnation,
      );
      if (!isRunning) world.agents.push(freshAgent(world, member, incarnation));
      return { outcome: done, now: true };
    }
    case "stopMember": {
      const agent = world.agents.find(
        (one) => one.member === effect.member && one.incarnation === effect.incarnation,
      );
      if (agent !== undefined) endAgent(world, agent);
      return { outcome: done, now: true };
    }
    case "ensureStore":
      return { outcome: { kind: "store", host: "", port: 1 }, now: true };
    case "chooseHead":
      return { outcome: { kind: "head", head: chooseHead(world) }, now: false };
    case "beginSave": {
      const outcome = beginSave(world, effect.step, effect.generation);
      return { outcome: outcome ?? done, now: false };
    }
    case "reportPrepared":
      return { outcome: reportPrepared(world, effect.key, effect.prepared), now: false };
    case "abortSave":
      return { outcome: abortSave(world, effect.key), now: false };
    default:
      return { outcome: done, now: true };
  }
}

export type Wait =
  | { readonly what: "retry" | "forming" | "boundary" | "saveDeadline" | "stragglers" }
  | { readonly what: "silence"; readonly member: string };

/** A wait of the policy is over. False when nothing waits for it. */
export function timeIsUp(world: ModelWorld, wait: Wait, core: Core): boolean {
  const { core: state } = world;
  if (state.phase !== "active") return false;
  const { live } = state;
  const over = {
    retry: live.retryAtMs > NOW && { retryAtMs: NOW },
    forming: live.prepared && { prepared: { ...live.prepared, sinceMs: OVER_MS } },
    boundary: live.waitingSinceMs !== null && { waitingSinceMs: OVER_MS },
    saveDeadline: live.save && { save: { ...live.save, sinceMs: OVER_MS } },
    stragglers: live.committed === null && {
      members: live.members.map((one) =>
        one.state === "loaded" ? { ...one, launchedMs: -200_000 } : one,
      ),
    },
    silence: {
      members: live.members.map((one) =>
        wait.what === "silence" && one.name === wait.member && one.silentSinceMs !== null
          ? { ...one, silentSinceMs: OVER_MS }
          : one,
      ),
    },
  }[wait.what];
  if (!over) return false;
  world.core = { ...state, live: { ...live, ...over } };
  deliver(world, { kind: "tick" }, core);
  return true;
}
