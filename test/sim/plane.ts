/** The control plane's shell as a model: a journal, sessions, effects in flight, and a process that may crash anywhere. */
import type { Directive, directivesFor } from "../../packages/control-plane/src/core/directives.ts";
import type { JobEvent, Outcome } from "../../packages/control-plane/src/core/events.ts";
import type { decide } from "../../packages/control-plane/src/core/lifecycle.ts";
import { HANG_MS_DEFAULT, hangAfterMs } from "../../packages/control-plane/src/core/liveness.ts";
import type { silenceAll } from "../../packages/control-plane/src/core/members.ts";
import type { Effect, JobState } from "../../packages/control-plane/src/core/state.ts";
import { NOTHING_MEASURED } from "../../packages/control-plane/src/core/step-measure.ts";
import type { Agent, Said } from "./agent.ts";
import { Away, Refusal } from "./checkpoint-desk.ts";
import type { LaneReport } from "./rank.ts";
import type { World } from "./world.ts";

/** What is under test; mutants give another one. */
export interface Core {
  readonly decide: typeof decide;
  readonly directivesFor: typeof directivesFor;
  readonly silenceAll: typeof silenceAll;
}

export interface Session {
  readonly agent: Agent;
  readonly told: Set<string>;
  readonly send: (told: Parameters<Agent["hear"]>[0]) => void;
  readonly end: () => void;
}

export type CrashPoint = "save" | "act" | "settle";

const TICK_MS = 500;
const TRIES_MAX = 6;
const BACKOFF_MS = 200;

export class Plane {
  /** Durable. */
  journal: JobState;
  readonly rows = new Map<number, Map<number, number>>();
  /** What the running process knows; null while there is none. */
  memory: JobState | null = null;
  /** Numbers of the crash points passed so far. */
  points = 0;
  readonly pointKinds: CrashPoint[] = [];
  completeStep = 0;
  startedMs = 0;
  private readonly world: World;
  private readonly core: Core;
  private readonly sessions = new Map<string, Session>();
  private readonly inFlight = new Set<string>();
  private process = 0;
  private queue: JobEvent[] = [];
  private isDeciding = false;
  private pendingRows: LaneReport[] = [];
  private isFlushing = false;

  constructor(world: World, core: Core, journal: JobState) {
    this.world = world;
    this.core = core;
    this.journal = journal;
  }

  get isUp(): boolean {
    return this.memory !== null;
  }

  /** A process begins with what the journal holds; nobody is heard yet. */
  start(): void {
    this.process++;
    this.startedMs = this.world.agenda.now;
    const { journal, world } = this;
    const { now } = world.agenda;
    this.memory =
      journal.phase === "active"
        ? { ...journal, live: this.core.silenceAll(journal.live, now) }
        : journal;
    if (journal.phase === "active") {
      for (const { name, incarnation, state } of journal.live.members) {
        const isLaunching = journal.effects.some(
          ({ id }) => id === `launch:${name}:${incarnation}`,
        );
        if (state === "lost" || isLaunching || world.isRunning(name, incarnation)) continue;
        const sentence = "its process was gone when the control plane came back";
        this.deliver({ kind: "gone", member: name, incarnation, cause: "node", sentence });
      }
    }
    if (this.memory !== null) this.act(this.memory);
    this.tick(this.process);
  }

  crash(): void {
    if (this.memory === null) return;
    this.process++;
    this.memory = null;
    this.queue = [];
    this.pendingRows = [];
    this.isFlushing = false;
    this.inFlight.clear();
    for (const session of [...this.sessions.values()]) session.end();
    this.sessions.clear();
    this.world.planeCrashed();
  }

  /** One event after another, as the work queue of a job does it. */
  deliver(event: JobEvent): void {
    if (this.memory === null) return;
    this.queue.push(event);
    if (this.isDeciding) return;
    this.isDeciding = true;
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift())
      this.reconcile(next);
    this.isDeciding = false;
  }

  private reconcile(event: JobEvent): void {
    const { memory: before, world } = this;
    if (before === null) return;
    const decision = this.core.decide(before, event, world.agenda.now, world.policy);
    if (decision.state === before && decision.told.length === 0) return;
    this.journal = decision.state;
    world.watch.decided(before, event, decision);
    if (this.isCrashPoint("save")) return;
    this.memory = decision.state;
    this.act(decision.state);
    this.isCrashPoint("act");
  }

  private act(state: JobState): void {
    for (const session of [...this.sessions.values()]) this.update(session, state);
    for (const effect of state.effects) this.perform(effect, state);
  }

  private update(session: Session, state: JobState): void {
    const live = "live" in state ? state.live : null;
    const { agent, told } = session;
    const member = live?.members.find(({ name }) => name === agent.member);
    if (member !== undefined && member.incarnation !== agent.incarnation) {
      session.end();
      return;
    }
    for (const directive of this.core.directivesFor(state, agent.member)) {
      if (told.has(directive.key)) continue;
      told.add(directive.key);
      session.send(
        directive.kind === "prepare"
          ? { ...directive, plan: { ...directive.plan, recordedStep: live?.step ?? 0 } }
          : directive,
      );
    }
  }

  // -- sessions

  /** `refused`: this incarnation was replaced. */
  open(session: Session): "open" | "refused" {
    const state = this.memory;
    const { agent } = session;
    const live = state !== null && "live" in state ? state.live : null;
    const member = live?.members.find(({ name }) => name === agent.member);
    const hasLeft = member === undefined && state?.phase !== "active";
    if (!hasLeft && member?.incarnation !== agent.incarnation) return "refused";
    this.sessions.get(agent.member)?.end();
    this.sessions.set(agent.member, session);
    return "open";
  }

  /** The stream broke, as far as this side has noticed. */
  closed(session: Session): void {
    const { member, incarnation } = session.agent;
    if (this.sessions.get(member) !== session) return;
    this.sessions.delete(member);
    this.deliver({ kind: "streamLost", member, incarnation });
  }

  hear({ member, incarnation }: Agent, said: Said): void {
    if (this.memory === null) return;
    if (said.kind === "step") {
      this.addRows(said.lanes);
      return;
    }
    if (said.kind === "beat") {
      this.judgeBeat(member, incarnation, said.ranks);
      return;
    }
    this.deliver({ ...said, member, incarnation } as JobEvent);
    const session = this.sessions.get(member);
    if (said.kind === "hello" && session !== undefined && this.memory !== null)
      this.update(session, this.memory);
  }

  private judgeBeat(
    member: string,
    incarnation: number,
    ranks: readonly { localRank: number; silentMs: number }[],
  ): void {
    const live = this.memory !== null && "live" in this.memory ? this.memory.live : null;
    if (live?.committed == null) return;
    const limit = hangAfterMs(
      HANG_MS_DEFAULT,
      live.progress?.seconds ?? live.plan.stepSecondsPredicted,
    );
    for (const { localRank, silentMs } of ranks) {
      const slot = live.members
        .find(({ name }) => name === member)
        ?.ranks.find((one) => one.localRank === localRank);
      if (silentMs <= limit || slot?.state !== "busy") continue;
      this.deliver({ kind: "hung", member, incarnation, localRank, sentence: "silent" });
    }
  }

  // -- step rows

  private addRows(lanes: readonly LaneReport[]): void {
    if (this.memory === null || !("live" in this.memory) || this.memory.live === null) return;
    this.pendingRows.push(...lanes);
    if (!this.isFlushing) this.flush();
  }

  private flush(): void {
    this.isFlushing = true;
    const { process, world } = this;
    const rows = this.pendingRows;
    this.pendingRows = [];
    world.agenda.after(world.draw.ms(0, 30), () => {
      if (this.process !== process) return;
      for (const { step, lane, content } of rows) {
        const ofStep = this.rows.get(step) ?? new Map<number, number>();
        this.rows.set(step, ofStep);
        world.watch.row(step, lane, content, ofStep.get(lane));
        if (!ofStep.has(lane)) ofStep.set(lane, content);
      }
      while (this.rows.get(this.completeStep + 1)?.size === world.shape.lanes) this.completeStep++;
      const step = this.completeStep;
      for (const { send } of this.sessions.values()) send({ kind: "ack", step });
      this.deliver({
        kind: "stepped",
        step,
        facts: { ...NO_FACTS, atMs: world.agenda.now },
        laneTimes: [],
      });
      if (this.pendingRows.length > 0) this.flush();
      else this.isFlushing = false;
    });
  }

  // -- effects

  private perform(effect: Effect, state: JobState): void {
    if (this.inFlight.has(effect.id)) return;
    this.inFlight.add(effect.id);
    const { process, world } = this;
    const settle = (outcome: Outcome): void => {
      if (this.process !== process) return;
      this.inFlight.delete(effect.id);
      if (this.isCrashPoint("settle")) return;
      this.deliver({ kind: "settled", effectId: effect.id, outcome });
    };
    const attempt = (tries: number): void => {
      const fail = (sentence: string, isFinal: boolean): void => {
        if (isFinal || tries + 1 >= TRIES_MAX)
          settle({ kind: "failed", reason: { code: "EffectFailed", sentence } });
        else world.agenda.after(BACKOFF_MS * 2 ** tries, () => attempt(tries + 1));
      };
      world.agenda.after(world.effectMs(), () => {
        // A process that is gone sends nothing more; what it had sent before arrives all the same.
        if (this.process !== process && world.draw.chance(0.5)) return;
        if (world.effectFails()) {
          fail("the other side is away", false);
          return;
        }
        try {
          this.once(effect, state, (outcome) => {
            if (world.answerIsLost()) fail("no answer", false);
            else settle(outcome);
          });
        } catch (reason) {
          if (!(reason instanceof Refusal || reason instanceof Away)) throw reason;
          fail(String(reason), reason instanceof Refusal);
        }
      });
    };
    attempt(0);
  }

  private once(effect: Effect, state: JobState, answer: (outcome: Outcome) => void): void {
    const { world } = this;
    const done = (): void => answer({ kind: "done" });
    switch (effect.kind) {
      case "launchMember":
        world.launch(effect.member, effect.slot, effect.incarnation);
        done();
        return;
      case "stopMember":
        world.stopMember(effect.member, effect.incarnation, done);
        return;
      case "restartRank":
        this.sessions
          .get(effect.member)
          ?.send({ kind: "restartRank", localRank: effect.localRank });
        done();
        return;
      case "release":
        world.release(done);
        return;
      case "ensureStore":
        if (world.storeIsDown()) throw new Away("the store is away");
        answer({ kind: "store", host: "", port: 1 });
        return;
      case "chooseHead":
        answer({ kind: "head", head: world.desk.head() });
        return;
      case "beginSave":
        answer({ kind: "begun", ...world.desk.begin(effect.step, effect.generation, state) });
        return;
      case "reportPrepared":
        answer(world.desk.reportPrepared(effect.key, effect.prepared));
        return;
      case "abortSave":
        answer({ kind: "abortAnswered", commit: world.desk.abort(effect.key) });
        return;
      case "hash":
        answer({ kind: "hashes", weightsSha256: "w", stateSha256: "s", consumedSha256: "c" });
        return;
      case "export":
        answer({ kind: "exported", location: "somewhere" });
        return;
      case "erase":
        throw new Error(
          "nobody deletes a simulated job: driver.test.ts crashes at every point of it",
        );
      default:
        effect satisfies never;
    }
  }

  private tick(process: number): void {
    this.world.agenda.after(TICK_MS, () => {
      if (this.process !== process) return;
      if (this.memory?.phase === "active") this.deliver({ kind: "tick" });
      this.tick(process);
    });
  }

  /** True when the process ended here. */
  private isCrashPoint(kind: CrashPoint): boolean {
    if (this.memory === null) return true;
    if (this.world.recordsPoints) this.pointKinds.push(kind);
    if (this.points++ !== this.world.crashAtPoint) return false;
    this.crash();
    return true;
  }
}

const NO_FACTS = {
  loss: 0,
  gradNorm: 0,
  learningRate: 0,
  seconds: 0.5,
  trainedTokens: 0,
  processedTokens: 0,
  meanSeconds: 0.5,
  tokensPerSecond: 0,
  measured: NOTHING_MEASURED,
};

export type { Directive };
