/** Everything that may happen next. A move is a name and what it does to a draft of the world. */
import type { JobEvent } from "../../packages/control-plane/src/core/events.ts";
import type { Core } from "../sim/plane.ts";
import { hear, load } from "./agents.ts";
import { post } from "./outbox.ts";
import {
  connect,
  crash,
  deliver,
  disconnect,
  endAgent,
  perform,
  record,
  restart,
  timeIsUp,
  type Wait,
} from "./plane.ts";
import { gangOf, pass, rankDies, stopAtBoundary } from "./ranks.ts";
import {
  type Config,
  type FaultKind,
  FIRST_STEP,
  type ModelAgent,
  type ModelWorld,
  PER_STEP,
  SETTLE,
} from "./state.ts";

export interface Move {
  readonly name: string;
  /** Costs a fault or a request: not needed for a job to end. */
  readonly isFault: boolean;
  /** Returns false when it turns out to change nothing. */
  readonly make: (draft: ModelWorld) => boolean | void;
}

export function movesOf(world: ModelWorld, config: Config, core: Core): Move[] {
  if (world.core.phase !== "active") return [];
  const certain = certainMove(world, config);
  if (certain !== null) return [certain];
  const moves = [
    ...world.agents.flatMap((_, index) => ofAgent(world, index, config, core)),
    ...ofPlane(world, core),
  ];
  const isStill = moves.length === 0;
  moves.push(...ofTime(world, isStill, config, core));
  if (world.budget.faults > 0) moves.push(...faults(world, config, core));
  const [members] = world.budget.scales;
  if (world.isUp && members !== undefined) moves.push(scale(members, core));
  return moves;
}

/**
 * Where no fault can come any more, a collective that everybody reached before the boundary passes whatever else
 * happens, and changes nothing that anybody else looks at: it is looked at first and alone (README.md).
 */
function certainMove(world: ModelWorld, config: Config): Move | null {
  if (world.budget.faults > 0) return null;
  for (const [index, { rank, member }] of world.agents.entries()) {
    const gang = rank.plan === null ? undefined : gangOf(world, rank.plan.number);
    if (gang === undefined || gang.broken || rank.at > gang.complete) continue;
    const isInner =
      (rank.place === "joining" && rank.at === SETTLE) ||
      (rank.place === "stepping" && (rank.at - FIRST_STEP) % PER_STEP < PER_STEP - 1);
    if (!isInner) continue;
    const name = `${member} passes collective ${rank.at} of generation ${gang.number}`;
    return free(name, (draft) => pass(draft, at(draft, index), config));
  }
  return null;
}

function free(name: string, make: Move["make"]): Move {
  return { name, isFault: false, make };
}

function at(draft: ModelWorld, index: number): ModelAgent {
  const agent = draft.agents[index];
  if (agent === undefined) throw new Error(`no agent ${index}`);
  return agent;
}

function ofAgent(world: ModelWorld, index: number, config: Config, core: Core): Move[] {
  const agent = at(world, index);
  const who = `${agent.member}.${agent.incarnation}`;
  const moves: Move[] = [];
  const { rank } = agent;
  if (world.isUp && agent.connected) {
    const said = agent.up[0];
    if (said !== undefined)
      moves.push(
        free(`the control plane hears ${said.kind} of ${who}`, (draft) => {
          at(draft, index).up.shift();
          deliver(draft, said, core);
        }),
      );
    if (agent.steps.length > 0)
      moves.push(
        free(`steps of ${who} are recorded: ${agent.steps.map(([step]) => step)}`, (draft) =>
          record(draft, at(draft, index), core),
        ),
      );
    const told = agent.down[0];
    if (told !== undefined)
      moves.push(
        free(`${who} hears ${told.key}`, (draft) => {
          at(draft, index).down.shift();
          hear(draft, at(draft, index), told, config);
        }),
      );
  }
  if (world.isUp && !agent.connected) {
    moves.push(
      free(`${who} connects`, (draft) => {
        if (!connect(draft, at(draft, index), core)) endAgent(draft, at(draft, index));
      }),
    );
    const { member, incarnation } = agent;
    if (!agent.noticed)
      moves.push(
        free(`the stream of ${who} is noticed to be broken`, (draft) => {
          at(draft, index).noticed = true;
          deliver(draft, { kind: "streamLost", member, incarnation }, core);
        }),
      );
  }
  if (rank.place === "loading")
    moves.push(free(`${who} has loaded`, (draft) => load(draft, at(draft, index))));
  const gang = rank.plan === null ? undefined : gangOf(world, rank.plan.number);
  if (gang !== undefined && (rank.place === "joining" || rank.place === "stepping")) {
    const where = `collective ${rank.at} of generation ${gang.number}`;
    if (rank.at <= gang.complete)
      moves.push(free(`${who} passes ${where}`, (draft) => pass(draft, at(draft, index), config)));
    if (gang.broken)
      moves.push(
        free(`${who} fails in ${where}`, (draft) => stopAtBoundary(draft, at(draft, index))),
      );
  }
  for (const save of agent.writes)
    moves.push(
      free(`${who} writes ${save.saveId}`, (draft) =>
        write(draft, at(draft, index), save.saveId, true),
      ),
    );
  return moves;
}

function write(draft: ModelWorld, agent: ModelAgent, saveId: string, succeeds: boolean): void {
  const { member, incarnation } = agent;
  const save = draft.saves.find((one) => one.saveId === saveId);
  const wanted = agent.writes.find((one) => one.saveId === saveId);
  agent.writes = agent.writes.filter((one) => one.saveId !== saveId);
  if (save === undefined || wanted === undefined) return;
  const { step, generation, writer } = wanted;
  const key = { run: draft.core.uid, step, generation, try: save.try, saveId };
  if (!succeeds) {
    const reason = { code: "ENOSPC", sentence: "full" };
    post(agent, `save ${saveId}`, { kind: "saveFailed", member, incarnation, key, writer, reason });
    return;
  }
  save.written = [...new Set([...save.written, writer])].sort();
  post(agent, `save ${saveId}`, {
    kind: "wrote",
    member,
    incarnation,
    key,
    prepared: { writer, incarnation: 0, manifestPath: "", manifestSha256: "", bytes: 1 },
  });
}

function ofPlane(world: ModelWorld, core: Core): Move[] {
  if (!world.isUp) return [free("the control plane comes back", (draft) => restart(draft, core))];
  const moves: Move[] = [];
  for (const effect of world.core.effects) {
    if (world.answers.some(([id]) => id === effect.id)) continue;
    moves.push(
      free(`${effect.id} is done`, (draft) => {
        const { outcome, now } = perform(draft, effect);
        if (now) deliver(draft, { kind: "settled", effectId: effect.id, outcome }, core);
        else draft.answers = [...draft.answers, [effect.id, outcome]];
      }),
    );
  }
  for (const [effectId, outcome] of world.answers)
    moves.push(
      free(`the answer to ${effectId} is heard`, (draft) => {
        draft.answers = draft.answers.filter(([id]) => id !== effectId);
        deliver(draft, { kind: "settled", effectId, outcome }, core);
      }),
    );
  world.late.forEach((event, index) => {
    if (!mayComeLate(world, event)) return;
    const who = "member" in event ? `${event.member}.${event.incarnation}` : "";
    moves.push(
      free(`late, the control plane hears ${event.kind} of ${who}`, (draft) => {
        draft.late = draft.late.filter((_, other) => other !== index);
        deliver(draft, event, core);
      }),
    );
  });
  return moves;
}

/** The order of one incarnation's streams protects what says how things are now; the rest must be fenced. */
function mayComeLate(world: ModelWorld, event: JobEvent): boolean {
  if (!("member" in event) || event.kind === "gone") return true;
  const isOrdered =
    event.kind === "hello" ||
    event.kind === "loaded" ||
    (event.kind === "interrupted" && event.generation === 0);
  const live = "live" in world.core ? world.core.live : null;
  const member = live?.members.find(({ name }) => name === event.member);
  return !isOrdered || member?.incarnation !== event.incarnation;
}

/** Waits end when nothing else happens; that one ends sooner is a fault. */
function ofTime(world: ModelWorld, isStill: boolean, config: Config, core: Core): Move[] {
  if (!world.isUp || world.core.phase !== "active") return [];
  const moves: Move[] = [];
  const wait = (wait: Wait, isFree: boolean): void => {
    if (!isFree && (world.budget.faults === 0 || !config.kinds.has("early"))) return;
    const name = wait.what === "silence" ? `silence of ${wait.member}` : wait.what;
    moves.push({
      name: `the wait is over: ${name}`,
      isFault: !isFree,
      make: (draft) => {
        if (!isFree) draft.budget.faults--;
        return timeIsUp(draft, wait, core);
      },
    });
  };
  wait({ what: "retry" }, true);
  for (const what of ["forming", "boundary", "saveDeadline", "stragglers"] as const)
    wait({ what }, isStill);
  for (const { name, silentSinceMs } of world.core.live.members)
    if (silentSinceMs !== null) wait({ what: "silence", member: name }, isStill);
  world.agents.forEach(({ rank, member }, index) => {
    const gang = rank.plan === null ? undefined : gangOf(world, rank.plan.number);
    const isWaiting = rank.place === "joining" || rank.place === "stepping";
    if (!isStill || gang === undefined || !isWaiting) return;
    moves.push(
      free(`a collective of ${member} times out`, (draft) =>
        stopAtBoundary(draft, at(draft, index)),
      ),
    );
  });
  return moves;
}

function faults(world: ModelWorld, config: Config, core: Core): Move[] {
  const moves: Move[] = [];
  const fault = (kind: FaultKind, name: string, make: (draft: ModelWorld) => void): void => {
    if (!config.kinds.has(kind)) return;
    moves.push({
      name: `FAULT ${name}`,
      isFault: true,
      make: (draft) => {
        draft.budget.faults--;
        make(draft);
      },
    });
  };
  if (world.isUp) fault("crash", "the control plane ends", crash);
  world.agents.forEach((agent, index) => {
    const who = `${agent.member}.${agent.incarnation}`;
    fault("rankDies", `the rank of ${who} dies`, (draft) => rankDies(draft, at(draft, index)));
    fault("memberDies", `member ${who} dies`, (draft) => endAgent(draft, at(draft, index)));
    if (agent.connected) {
      fault("reset", `the stream of ${who} breaks`, (draft) => disconnect(at(draft, index)));
      if (agent.up.length > 0)
        fault("resetLate", `the stream of ${who} breaks, its messages come late`, (draft) => {
          draft.late = [...draft.late, ...at(draft, index).up];
          disconnect(at(draft, index));
        });
      const said = agent.up[0];
      if (world.isUp && said !== undefined)
        fault("twice", `${said.kind} of ${who} comes twice`, (draft) => {
          at(draft, index).up.shift();
          draft.late = [...draft.late, said];
          deliver(draft, said, core);
        });
    }
    if (agent.rank.place === "joining")
      fault("join", `${who} cannot join`, (draft) => stopAtBoundary(draft, at(draft, index)));
    for (const { saveId } of agent.writes)
      fault("disk", `${who} cannot write ${saveId}`, (draft) =>
        write(draft, at(draft, index), saveId, false),
      );
  });
  return moves;
}

function scale(members: number, core: Core): Move {
  return {
    name: `REQUEST scale to ${members}`,
    isFault: true,
    make: (draft) => {
      draft.budget.scales = draft.budget.scales.slice(1);
      const wanted = Array.from({ length: members }, (_, slot) => ({
        name: `m${slot}`,
        node: `n${slot}`,
      }));
      deliver(draft, { kind: "scale", members: wanted }, core);
    },
  };
}
