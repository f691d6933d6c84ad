/** Control plane, members, ranks, launcher and checkpoint-manager in one thread under virtual time. */

import { openLedger } from "../../packages/control-plane/src/core/ledger.ts";
import type { Policy } from "../../packages/control-plane/src/core/policy.ts";
import { POLICY_DEFAULT } from "../../packages/control-plane/src/core/policy.ts";
import type { JobState } from "../../packages/control-plane/src/core/state.ts";
import { NOTHING_TALLIED } from "../../packages/control-plane/src/core/tally.ts";
import { aPlan, aSpec, someFacts } from "../support/job-builder.ts";
import { Agenda, Pipe } from "./agenda.ts";
import { Agent, type JobFacts, type Said, type Told } from "./agent.ts";
import { CheckpointDesk } from "./checkpoint-desk.ts";
import { createDraw, type Draw } from "./draw.ts";
import type { JobShape } from "./exact.ts";
import { Gang } from "./gang.ts";
import { type Core, Plane, type Session } from "./plane.ts";
import type { Rank, ToldGeneration } from "./rank.ts";
import type { FaultKind, Scenario } from "./scenario.ts";
import { Violation, Watch } from "./watch.ts";

const BLOCK_ELEMENTS = 4;
// After the last fault everything heals by itself: the longest waits of the policy, several times.
const HEALING_MS = 3_600_000;
// After the end: agents away for their longest backoff still have to hear of it.
const DRAIN_MS = 60_000;
const ENTRIES_MAX = 100_000;
const BACKOFF_MS_MAX = 10_000;
const REFUSALS_MAX = 5;
/** As many as a user asks for at most. */
const MEMBERS_MAX = 5;
const GRACE_MS = 15_000;
const ECHO = 0.04;
// Of these there are few, and each must be fenced.
const ECHO_VERDICT = 0.3;
const MAY_REPEAT: ReadonlySet<Said["kind"]> = new Set([
  "ready",
  "generationFailed",
  "interrupted",
  "staged",
  "wrote",
  "saveFailed",
  "finished",
  "rankExit",
  "step",
]);

export interface Ending {
  readonly phase: JobState["phase"];
  readonly reason: string;
  readonly atMs: number;
  readonly step: number;
  readonly generations: number;
  readonly restores: number;
  readonly snapshotStarts: number;
  readonly points: number;
  readonly lastCommitStep: number;
}

export class World {
  readonly agenda = new Agenda();
  readonly draw: Draw;
  readonly shape: JobShape;
  readonly ranksPerMember: number;
  readonly policy: Policy;
  readonly facts: JobFacts;
  readonly watch: Watch;
  readonly desk: CheckpointDesk;
  readonly plane: Plane;
  readonly crashAtPoint: number;
  readonly recordsPoints: boolean;
  readonly ranks: Rank[] = [];
  agents: Agent[] = [];
  faults = 0;
  hadUserError = false;
  hadEffectFaults = false;
  wasCancelled = false;
  /** The control plane ended at least once. */
  crashed = false;
  private readonly scenario: Scenario;
  private readonly gangs = new Map<string, Gang>();
  private readonly plans = new Map<number, ToldGeneration>();
  private readonly ready = new Set<string>();
  private readonly links = new Map<Agent, { break: (late: boolean) => void }>();
  private readonly partitioned = new Set<Agent>();
  private pids = 100;
  /** From this step on a commit is not heard: the control plane ends, and so may a writer. */
  private unheardFrom = Number.POSITIVE_INFINITY;
  private effectsSlowUntil = 0;
  private storeDownUntil = 0;
  private diskFullUntil = 0;
  private effectsFailUntil = 0;

  constructor(scenario: Scenario, core: Core) {
    this.scenario = scenario;
    const { shape, seed } = scenario;
    this.shape = shape;
    this.ranksPerMember = scenario.ranksPerMember;
    this.crashAtPoint = scenario.crashAtPoint;
    this.recordsPoints = scenario.seed === 1;
    this.draw = createDraw(seed ^ 0x5eed);
    this.policy = {
      ...POLICY_DEFAULT,
      launchMs: 180_000,
      // Far beyond the end: what only a deadline ends hangs.
      saveDeadlineMs: 86_400_000,
      refundSteps: scenario.refundSteps,
    };
    this.facts = someFacts({
      elements: shape.blocks * BLOCK_ELEMENTS,
      totalSteps: shape.totalSteps,
    });
    this.watch = new Watch(this);
    this.desk = new CheckpointDesk((key, parts) => {
      const content = new Map(parts.flatMap(({ blocks }) => [...blocks]));
      this.watch.saved(
        key.step,
        content,
        parts.map(({ step }) => step),
      );
      this.loseCommit(key.step);
    });
    this.plane = new Plane(this, core, queuedState(scenario));
  }

  /** The whole life of the job. Throws a Violation. */
  run(): Ending {
    this.plane.start();
    this.place();
    for (const { atMs, kind } of this.scenario.faults)
      this.agenda.after(atMs, () => this.strike(kind));
    const lastFaultMs = this.scenario.faults.at(-1)?.atMs ?? 0;
    const until = lastFaultMs + HEALING_MS;
    while (!this.isOver() && this.agenda.done < ENTRIES_MAX && this.agenda.next(until));
    if (!this.isOver()) {
      const { phase, reason } = this.plane.journal;
      throw new Violation(
        "every job ends",
        `${phase}, ${reason.sentence} (at ${this.agenda.now} ms)`,
      );
    }
    const atMs = this.agenda.now;
    while (this.agenda.next(atMs + DRAIN_MS));
    const state = this.plane.journal;
    this.watch.ended(state);
    const live = "live" in state ? state.live : null;
    return {
      phase: state.phase,
      reason: state.reason.code,
      atMs,
      step: live?.step ?? 0,
      generations: this.watch.generations,
      restores: this.watch.checkpointRestores,
      snapshotStarts: this.watch.snapshotStarts,
      points: this.plane.points,
      lastCommitStep: live?.lastCommit?.step ?? 0,
    };
  }

  private isOver(): boolean {
    const { phase, effects } = this.plane.journal;
    return (
      (phase === "complete" || phase === "failed" || phase === "cancelled") && effects.length === 0
    );
  }

  /** Placed as soon as there is a control plane to hear it. */
  private place(): void {
    const members = membersNamed(this.scenario.members);
    const reason = { code: "Placed", sentence: "placed" };
    this.plane.deliver({ kind: "placed", members, reason });
    this.agenda.after(1_000, () => {
      if (this.plane.journal.phase === "queued") this.place();
    });
  }

  // -- what the ranks and agents ask for

  loadMs(): number {
    return this.draw.ms(100, this.scenario.loadMsMax);
  }

  computeMs(_: Rank): number {
    const { stepMs } = this.scenario;
    return this.draw.chance(0.03) ? stepMs * 4 : this.draw.ms(stepMs / 2, stepMs);
  }

  writeMs(): number {
    return this.draw.chance(0.1) ? this.draw.ms(1_000, 8_000) : this.draw.ms(5, 400);
  }

  diskIsFull(): boolean {
    return this.agenda.now < this.diskFullUntil;
  }

  storeIsDown(): boolean {
    return this.agenda.now < this.storeDownUntil;
  }

  nextPid(): number {
    return ++this.pids;
  }

  gangOf(name: string, size: number): Gang {
    const known = this.gangs.get(name);
    if (known !== undefined) return known;
    const gang = new Gang(name, size, this);
    this.gangs.set(name, gang);
    return gang;
  }

  rememberPlan(plan: ToldGeneration): void {
    this.plans.set(plan.number, plan);
  }

  planOf(number: number): ToldGeneration | undefined {
    return this.plans.get(number);
  }

  /** A rank has adopted the generation and said so. */
  noteReady(number: number, rank: number): void {
    this.ready.add(`${number} ${rank}`);
  }

  wasReady(number: number, rank: number): boolean {
    return this.ready.has(`${number} ${rank}`);
  }

  /** What the lanes of a step consumed: a function of the data, known to everybody. */
  consumed(step: number): readonly number[] {
    return this.watch.reference.lanes(step + 1);
  }

  // -- what the control plane asks for

  effectMs(): number {
    if (this.agenda.now < this.effectsSlowUntil) return this.draw.ms(500, 15_000);
    return this.draw.chance(0.05) ? this.draw.ms(500, 4_000) : this.draw.ms(1, 60);
  }

  effectFails(): boolean {
    return this.agenda.now < this.effectsFailUntil && this.draw.chance(0.6);
  }

  answerIsLost(): boolean {
    return this.agenda.now < this.effectsFailUntil && this.draw.chance(0.3);
  }

  isRunning(member: string, incarnation: number): boolean {
    return this.agents.some((one) => one.member === member && one.incarnation === incarnation);
  }

  launch(member: string, slot: number, incarnation: number): void {
    if (this.isRunning(member, incarnation)) return;
    const agent = new Agent(this, { member, slot, incarnation, pid: this.nextPid() });
    this.agents.push(agent);
    this.agenda.after(this.draw.ms(20, 300), () => this.connect(agent, 500));
  }

  stopMember(member: string, incarnation: number, done: () => void): void {
    const agent = this.agents.find(
      (one) => one.member === member && one.incarnation === incarnation,
    );
    if (agent !== undefined) this.end([agent], done);
    else done();
  }

  release(done: () => void): void {
    this.end([...this.agents], done);
  }

  /** A grace, then the end for certain. */
  private end(agents: readonly Agent[], done: () => void): void {
    for (const agent of agents) agent.stop();
    const check = (leftMs: number): void => {
      const living = agents.filter(({ alive }) => alive);
      if (leftMs <= 0) for (const agent of living) agent.die();
      if (leftMs <= 0 || living.length === 0) done();
      else this.agenda.after(100, () => check(leftMs - 100));
    };
    check(GRACE_MS);
  }

  memberEnded(agent: Agent): void {
    this.links.get(agent)?.break(true);
    this.links.delete(agent);
    this.agents = this.agents.filter((one) => one !== agent);
    const { member, incarnation } = agent;
    this.agenda.after(this.draw.ms(0, 50), () =>
      this.plane.deliver({
        kind: "gone",
        member,
        incarnation,
        cause: "node",
        sentence: "the process ended",
      }),
    );
  }

  planeCrashed(): void {
    this.crashed = true;
    this.agenda.after(
      this.draw.chance(0.2) ? this.draw.ms(5_000, 40_000) : this.draw.ms(100, 3_000),
      () => {
        if (!this.plane.isUp) this.plane.start();
      },
    );
  }

  // -- streams

  private connect(agent: Agent, backoffMs: number): void {
    if (!agent.alive) return;
    const again = (): void =>
      this.agenda.after(backoffMs, () =>
        this.connect(agent, Math.min(2 * backoffMs, BACKOFF_MS_MAX)),
      );
    if (!this.plane.isUp || this.partitioned.has(agent)) {
      again();
      return;
    }
    const verdict = this.openStream(agent);
    if (verdict === "open") agent.refusals = 0;
    else if (++agent.refusals >= REFUSALS_MAX) agent.stop();
    else again();
  }

  private openStream(agent: Agent): "open" | "refused" {
    const { agenda, draw, plane } = this;
    const delay = (): number => draw.ms(1, 15);
    const up = new Pipe<Said>(agenda, delay, (said) => {
      plane.hear(agent, said);
      const isVerdict = said.kind === "ready" || said.kind === "generationFailed";
      // A failure is said once and heard for a moment only: it is always repeated, the next try follows at once.
      const isEchoed =
        said.kind === "generationFailed" || draw.chance(isVerdict ? ECHO_VERDICT : ECHO);
      if (isEchoed)
        agenda.after(draw.ms(50, isVerdict ? 800 : 6_000), () => this.echo(agent, said));
    });
    const down = new Pipe<Told>(agenda, delay, (told) => agent.hear(told));
    let isBroken = false;
    const breakNow = (late: boolean): void => {
      if (isBroken) return;
      isBroken = true;
      up.close(late);
      down.close(false);
      if (this.links.get(agent) === link) this.links.delete(agent);
      agenda.after(draw.ms(0, 2_000), () => plane.closed(session));
      agenda.after(draw.ms(0, 500), () => {
        if (!agent.alive) return;
        agent.outbox.close();
        agenda.after(draw.ms(500, 2_000), () => this.connect(agent, 500));
      });
    };
    const link = { break: breakNow };
    const session: Session = {
      agent,
      told: new Set(),
      send: (told) => down.send(told),
      end: () => breakNow(draw.chance(0.5)),
    };
    if (plane.open(session) === "refused") return "refused";
    this.links.set(agent, link);
    agent.outbox.open((said) => up.send(said), agent.hello());
    return "open";
  }

  /** A message heard before arrives again, from a stream that was replaced or a process that is gone. */
  private echo(agent: Agent, said: Said): void {
    const { journal } = this.plane;
    const live = "live" in journal ? journal.live : null;
    const member = live?.members.find(({ name }) => name === agent.member);
    // The order of one incarnation's streams protects what says how things are now; the rest must be fenced.
    const isOrdered =
      !MAY_REPEAT.has(said.kind) || (said.kind === "interrupted" && said.generation === 0);
    if (isOrdered && member?.incarnation === agent.incarnation) return;
    this.plane.hear(agent, said);
  }

  // -- faults

  private strike(kind: FaultKind): void {
    this.faults++;
    const { draw, agenda } = this;
    const agent = this.agents.length === 0 ? null : draw.pick(this.agents);
    const rank = agent === null || agent.ranks.length === 0 ? null : draw.pick(agent.ranks);
    switch (kind) {
      case "killRank":
        rank?.die(draw.pick(["killed", "oom", "unknown"]), draw.chance(0.5));
        return;
      case "killInStep":
        if (rank !== null)
          rank.diesAfter = draw.pick(["reduce", "agree", "barrier", "gather", "snapshot"]);
        return;
      case "lie":
        if (rank !== null) rank.lies = true;
        return;
      case "killAgent":
        agent?.die();
        return;
      case "flap":
        if (agent !== null) this.links.get(agent)?.break(draw.chance(0.5));
        return;
      case "partition":
        if (agent === null) return;
        this.partitioned.add(agent);
        this.links.get(agent)?.break(false);
        agenda.after(draw.ms(2_000, 40_000), () => this.partitioned.delete(agent));
        return;
      case "crash":
        this.plane.crash();
        return;
      case "hang":
        if (rank !== null) rank.hung = true;
        return;
      case "store":
        this.storeDownUntil = agenda.now + draw.ms(100, 5_000);
        return;
      case "disk":
        this.diskFullUntil = agenda.now + draw.ms(500, 5_000);
        return;
      case "effects":
        this.effectsFailUntil = agenda.now + draw.ms(500, 8_000);
        this.hadEffectFaults = true;
        return;
      case "unheardCommit":
        this.unheardFrom = draw.chance(0.5) ? 0 : this.shape.totalSteps;
        return;
      case "poison":
        if (rank !== null) {
          rank.poisoned = true;
          this.hadUserError = true;
        }
        return;
      case "scale":
        this.scale(draw.int(1, MEMBERS_MAX));
        return;
      case "cancel":
        this.cancel();
        return;
      default:
        kind satisfies never;
    }
  }

  private loseCommit(step: number): void {
    if (step < this.unheardFrom) return;
    this.unheardFrom = Number.POSITIVE_INFINITY;
    this.plane.crash();
    if (this.draw.chance(0.8)) this.effectsSlowUntil = this.agenda.now + 60_000;
    if (this.agents.length > 0 && this.draw.chance(0.7)) this.draw.pick(this.agents).die();
  }

  /** What a user asks for with `shardctl scale`: the first so many names. Asked again until there is somebody to hear. */
  private scale(count: number): void {
    if (this.plane.isUp) this.plane.deliver({ kind: "scale", members: membersNamed(count) });
    else this.agenda.after(500, () => this.scale(count));
  }

  private cancel(): void {
    this.wasCancelled = true;
    if (this.plane.isUp) this.plane.deliver({ kind: "cancel" });
    else this.agenda.after(500, () => this.cancel());
  }
}

function membersNamed(count: number): { readonly name: string; readonly node: string }[] {
  return Array.from({ length: count }, (_, index) => ({ name: `m${index}`, node: `n${index}` }));
}

function queuedState(scenario: Scenario): JobState {
  const { members, ranksPerMember, shape, budget, method, membersMin, copies, exports } = scenario;
  const spec = aSpec({
    tuning: { ...aSpec().tuning, method },
    faultBudget: {
      error: budget,
      oom: budget,
      communication: budget,
      hang: budget,
      node: budget,
      storage: budget,
    },
    resources: {
      ...aSpec().resources,
      members: { replicas: members, min: membersMin, max: null, gpus: ranksPerMember },
    },
    export: Array.from({ length: exports }, () => ({
      format: "hf" as const,
      merge: false,
      destination: null,
    })),
  });
  const plan = aPlan();
  return {
    phase: "queued",
    uid: "01J00000000000000000000000",
    spec,
    submittedPlan: {
      ...plan,
      ranks: members * ranksPerMember,
      members,
      ranksPerMember,
      copies,
      blockElements: BLOCK_ELEMENTS,
      trainableElements: shape.blocks * BLOCK_ELEMENTS,
      saveEverySteps: shape.saveEverySteps,
      snapshotEverySteps: shape.snapshotEverySteps,
      recipe: { ...plan.recipe, lanes: shape.lanes },
    },
    reason: { code: "Submitted", sentence: "waits" },
    effects: [],
    ledger: openLedger(0),
    tallies: NOTHING_TALLIED,
    sinceMs: 0,
  };
}
