/** What must always hold, and what must hold at the end. A violation is thrown with its name. */
import { LEDGER_CATEGORIES } from "@shardwright/job/accounts";
import type { JobEvent } from "../../packages/control-plane/src/core/events.ts";
import { holdsMembers, totalOf } from "../../packages/control-plane/src/core/ledger.ts";
import type {
  Decision,
  Effect,
  JobState,
  Live,
} from "../../packages/control-plane/src/core/state.ts";
import { Reference } from "./exact.ts";
import type { Rank } from "./rank.ts";
import type { World } from "./world.ts";

export class Violation extends Error {
  readonly invariant: string;
  constructor(invariant: string, detail: string) {
    super(`${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

// Decisions come at ticks, and the backoff of a failed generation stands before them.
const WAIT_SLACK_MS = 3_000;
const BUDGETS = ["error", "oom", "communication", "hang", "node", "storage"] as const;

export class Watch {
  private readonly world: World;
  readonly reference: Reference;
  private readonly charged = new Set<string>();
  private readonly committedSteps = new Map<number, number>();
  /** Highest version that any rank applied in a generation: everybody was at its barrier. */
  private readonly barrier = new Map<number, number>();
  private lastSaves = 0;
  /** When each member's devices were held. */
  private readonly holds = new Map<
    string,
    { sinceMs: number; beforeMs: number; untilMs: number | null }
  >();
  generations = 0;
  checkpointRestores = 0;
  snapshotStarts = 0;

  constructor(world: World) {
    this.world = world;
    this.reference = new Reference(world.shape);
  }

  // -- decisions

  decided(before: JobState, event: JobEvent, { state }: Decision): void {
    const was = liveOf(before);
    const is = liveOf(state);
    this.ledgerHolds(before, state);
    if (was !== null && is !== null) {
      this.echoes(was, before, event, state);
      if (state.phase === "active") {
        this.seatedAreBusy(is);
        this.silentAreGivenUp(is);
      }
      this.restartsForgive(was, is, event);
      this.generationsGrow(was, is);
      this.charges(was, is, event);
      this.prepares(was, is);
      this.commits(was, is);
      this.saves(was, is, event);
    }
    this.budgets(state);
    this.effectsLeave(before, state, event);
    this.completes(before, state);
    this.endsReleased(before, state);
  }

  private echoes(was: Live, before: JobState, event: JobEvent, state: JobState): void {
    if (!("member" in event)) return;
    const member = was.members.find(({ name }) => name === event.member);
    this.must(
      "an echo of another incarnation changes nothing",
      member?.incarnation === event.incarnation || state === before,
      `${event.kind} of ${event.member} ${event.incarnation}`,
    );
    if (event.kind !== "ready" && event.kind !== "generationFailed") return;
    const live = liveOf(state);
    this.must(
      "an echo of another generation changes nothing",
      event.generation === was.prepared?.number ||
        was.prepared === null ||
        (live?.prepared?.number === was.prepared.number &&
          live.prepared.ready.length === was.prepared.ready.length),
      `${event.kind} of generation ${event.generation}, ${was.prepared?.number} is prepared`,
    );
  }

  private seatedAreBusy({ prepared, committed, members }: Live): void {
    const pids = new Set(prepared?.seats.map(({ pid }) => pid));
    const known = new Set(members.flatMap(({ ranks }) => ranks.map(({ pid }) => pid)));
    const running = committed?.mode === "running" ? committed.seats : [];
    for (const { pid, member } of [...running, ...(prepared?.seats ?? [])])
      this.must("every seat is a known rank's", known.has(pid), `pid ${pid} of ${member}`);
    for (const { name, ranks } of members)
      for (const { pid, state } of ranks)
        this.must(
          "a rank that adopts is waited for",
          !pids.has(pid) || state === "busy",
          `pid ${pid} of ${name} is ${state} while generation ${prepared?.number} is prepared`,
        );
  }

  private silentAreGivenUp({ waitingSinceMs, members }: Live): void {
    const { now } = this.world.agenda;
    if (waitingSinceMs === null) return;
    for (const { name, state, silentSinceMs, ranks } of members) {
      if (
        state !== "loaded" ||
        silentSinceMs === null ||
        ranks.every((one) => one.state !== "busy")
      )
        continue;
      const waitedMs = now - Math.max(waitingSinceMs, silentSinceMs);
      this.must(
        "the silent are not waited for for ever",
        waitedMs <= this.world.policy.silenceMs + WAIT_SLACK_MS,
        `${name} for ${waitedMs} ms`,
      );
    }
  }

  /** Nobody is given up for the time in which there was no control plane to hear them. */
  private restartsForgive(was: Live, is: Live, event: JobEvent): void {
    if (event.kind === "gone" || event.kind === "settled") return;
    for (const { name, incarnation, state } of is.members) {
      const before = was.members.find((one) => one.name === name);
      if (before?.state !== "loaded" || (incarnation === before.incarnation && state !== "lost"))
        continue;
      const { now } = this.world.agenda;
      this.must(
        "a restart forgives silence",
        now - this.world.plane.startedMs > this.world.policy.silenceMs,
        `${name} was given up ${now - this.world.plane.startedMs} ms after the start`,
      );
    }
  }

  private generationsGrow(was: Live, is: Live): void {
    const a = was.committed?.number ?? 0;
    const b = is.committed?.number ?? 0;
    this.must(
      "generations only grow",
      b >= a && is.lastGeneration >= was.lastGeneration,
      `${a} → ${b}`,
    );
    if (is.prepared !== null && is.prepared.number !== was.prepared?.number)
      this.must(
        "generations only grow",
        is.prepared.number > was.lastGeneration && is.prepared.number > b,
        `${is.prepared.number} prepared after ${was.lastGeneration}`,
      );
  }

  private charges(was: Live, is: Live, event: JobEvent): void {
    if (!BUDGETS.some((cause) => is.spent[cause] > was.spent[cause])) return;
    if (event.kind !== "rankExit" && event.kind !== "gone") return;
    const end =
      event.kind === "rankExit" ? `pid ${event.pid}` : `${event.member} ${event.incarnation}`;
    this.must("one end is charged once", !this.charged.has(end), end);
    this.charged.add(end);
  }

  private budgets(state: JobState): void {
    const live = state.phase === "active" ? state.live : null;
    if (live === null) return;
    const budget = state.spec.faultBudget;
    for (const cause of BUDGETS)
      this.must(
        "budgets are never exceeded",
        live.spent[cause] <= budget[cause],
        `${cause} ${live.spent[cause]} of ${budget[cause]}`,
      );
  }

  /** State is read from elsewhere only when it is nowhere among the living. */
  private prepares(was: Live, is: Live): void {
    const { prepared, committed } = is;
    if (prepared === null || prepared.number === was.prepared?.number) return;
    this.generations++;
    if (prepared.source.kind === "live" || committed === null) return;
    if (prepared.source.kind === "snapshot") {
      this.snapshotStarts++;
      this.must(
        "a snapshot is not older than the last checkpoint",
        prepared.step >= (is.lastCommit?.step ?? 0),
        `generation ${prepared.number} from the snapshot of step ${prepared.step}, ${is.lastCommit?.step} is committed`,
      );
      this.isOfTheRun(prepared.source);
    } else this.checkpointRestores++;
    const holders = this.world.ranks.filter((rank) => {
      const member = is.members.find(({ name }) => name === rank.member);
      const isOurs = member?.incarnation === rank.incarnation && member.state !== "lost";
      return (
        rank.alive &&
        !rank.hung &&
        isOurs &&
        member.ranks.some(({ pid }) => pid === rank.pid) &&
        rank.committed?.plan.number === committed.number
      );
    });
    const target = Math.max(
      0,
      ...holders.map((one) => one.version + (one.pending?.agreed ? 1 : 0)),
    );
    const usable = holders.filter(({ version }) => version >= target - 1);
    const held = new Set(usable.flatMap(({ committed: own }) => [...(own?.blocks.keys() ?? [])]));
    this.must(
      "no restore while the living hold every block",
      held.size < this.world.shape.blocks,
      `generation ${prepared.number} from ${prepared.source.kind} at step ${prepared.step}, the living are at ${target}`,
    );
  }

  /** A later generation that began below it has undone what it was taken of. */
  private isOfTheRun({
    generation,
    step,
  }: {
    readonly generation: number;
    readonly step: number;
  }): void {
    const undoing = [...this.committedSteps].find(
      ([number, from]) => number > generation && from < step,
    );
    this.must(
      "a snapshot is of the run as it is",
      this.committedSteps.has(generation) && undoing === undefined,
      `step ${step} of generation ${generation}, undone by generation ${undoing?.[0]}`,
    );
  }

  private commits(was: Live, is: Live): void {
    const { committed } = is;
    if (committed === null || committed.number === was.committed?.number) return;
    this.must(
      "a generation is committed once",
      !this.committedSteps.has(committed.number),
      `${committed.number}`,
    );
    this.committedSteps.set(committed.number, committed.step);
    for (const seat of committed.seats) {
      const rank = this.world.ranks.find(({ pid }) => pid === seat.pid);
      this.must(
        "committed only when every seat is ready",
        this.world.wasReady(committed.number, seat.rank),
        `generation ${committed.number}, rank ${seat.rank} (${rank?.alive === true ? "alive" : "dead"})`,
      );
    }
    if (committed.source.kind === "live" && was.committed !== null) {
      const barrier = this.barrier.get(was.committed.number) ?? 0;
      this.must(
        "no step is undone below the last barrier",
        committed.step >= barrier,
        `generation ${committed.number} starts at ${committed.step}, ${barrier} was applied`,
      );
    }
  }

  private saves(was: Live, is: Live, event: JobEvent): void {
    if (is.lastCommit === null || is.lastCommit.commit === was.lastCommit?.commit) return;
    const found = this.world.desk.committed.get(is.lastCommit.commit);
    this.must(
      "a commit is what the checkpoint-manager committed",
      found !== undefined && found.step === is.lastCommit.step,
      `${is.lastCommit.commit} at step ${is.lastCommit.step} after ${event.kind}`,
    );
  }

  private effectsLeave(before: JobState, after: JobState, event: JobEvent): void {
    const isOver = after.phase !== before.phase;
    const kept = new Set(after.effects.map(({ id }) => id));
    const saveIsOver =
      liveOf(before)?.save?.step !== liveOf(after)?.save?.step ||
      liveOf(before)?.save?.generation !== liveOf(after)?.save?.generation;
    const mayLeave = (effect: Effect): boolean =>
      (event.kind === "settled" && event.effectId === effect.id) ||
      isOver ||
      (saveIsOver && (effect.kind === "beginSave" || effect.kind === "reportPrepared"));
    for (const effect of before.effects)
      this.must(
        "an effect is settled by its own id",
        kept.has(effect.id) || mayLeave(effect),
        effect.id,
      );
  }

  private completes(before: JobState, state: JobState): void {
    if (state.phase !== "finishing" || before.phase === "finishing") return;
    const { totalSteps } = this.world.shape;
    const commit = this.world.desk.committed.get(state.commit);
    this.must(
      "complete only with the last step's commit",
      commit?.step === totalSteps,
      `${state.commit} is of step ${commit?.step}`,
    );
    this.must(
      "complete only when every step is recorded",
      this.world.plane.completeStep >= totalSteps,
      `${this.world.plane.completeStep} of ${totalSteps}`,
    );
  }

  /** Members do not find out by themselves that nobody wants them any more. */
  private endsReleased(before: JobState, state: JobState): void {
    const isOver = state.phase === "failed" || state.phase === "cancelled";
    if (before.phase !== "active" || !isOver) return;
    this.must(
      "a job that ends releases its members",
      state.effects.some(({ kind }) => kind === "release"),
      `it is ${state.phase} with ${state.effects.length} effects`,
    );
  }

  // -- ranks

  rankRuns({ member, localRank }: Rank, generation: number, step: number): void {
    this.must(
      "ranks run only committed generations",
      this.committedSteps.get(generation) === step,
      `${member}/${localRank} runs ${generation} from ${step}`,
    );
  }

  applied(rank: Rank, generation: number, blocks: ReadonlyMap<number, number>): void {
    const { version } = rank;
    this.barrier.set(generation, Math.max(this.barrier.get(generation) ?? 0, version));
    for (const [block, content] of blocks)
      this.must(
        "a step is a function of (step, lane)",
        content === this.reference.block(version, block),
        `block ${block} of ${rank.member}/${rank.localRank} at version ${version}`,
      );
    const live = liveOf(this.world.plane.journal);
    const newest = live?.committed ?? null;
    if (newest === null || newest.number <= generation) return;
    // A settling rank finishes a step of the generation before; it steps no further in that one.
    if (version <= newest.step) return;
    const member = live?.members.find(({ name }) => name === rank.member);
    const isFenced =
      member?.incarnation !== rank.incarnation || !member.ranks.some(({ pid }) => pid === rank.pid);
    this.must(
      "one generation trains at a time",
      isFenced,
      `${rank.member}/${rank.localRank} applied step ${version} of generation ${generation}, ${newest.number} is committed from ${newest.step}`,
    );
  }

  row(step: number, lane: number, content: number, known: number | undefined): void {
    this.must(
      "a step is a function of (step, lane)",
      content === this.reference.lane(step, lane) && (known === undefined || known === content),
      `the row of step ${step}, lane ${lane}`,
    );
  }

  saved(step: number, content: ReadonlyMap<number, number>, steps: readonly number[]): void {
    const { completeStep } = this.world.plane;
    this.must(
      "no checkpoint is ahead of the journal",
      step <= completeStep,
      `step ${step} is committed, the journal holds ${completeStep}`,
    );
    const isLast = step === this.world.shape.totalSteps;
    // An abort that the checkpoint-manager never heard leaves a save behind that the next one finds whole.
    this.must(
      "the last step is written once",
      !isLast || this.lastSaves++ === 0 || this.world.hadEffectFaults,
      `the save of step ${step} is committed again`,
    );
    this.must(
      "no save mixes steps",
      steps.every((one) => one === step),
      `${steps.join()} in ${step}`,
    );
    for (const [block, found] of content)
      this.must(
        "no save mixes steps",
        found === this.reference.block(step, block),
        `block ${block} of the save of step ${step}`,
      );
  }

  // -- the end

  ended(state: JobState): void {
    const { world } = this;
    this.must(
      "no effect is outstanding",
      state.effects.length === 0,
      state.effects.map(({ id }) => id).join(),
    );
    this.must(
      "launched is released",
      world.agents.length === 0,
      `${world.agents.length} members run`,
    );
    if (state.phase === "failed") this.failsRightly(state);
    if (state.phase === "cancelled")
      this.must("cancelled only when asked", world.wasCancelled, state.reason.sentence);
    this.ledgerCloses(state);
  }

  /** Against a clock of our own: when each member was first and last held. */
  private ledgerHolds(before: JobState, state: JobState): void {
    const { now } = this.world.agenda;
    const held = holdsMembers(state) ? (liveOf(state)?.members ?? []) : [];
    for (const [name, hold] of this.holds) {
      if (hold.untilMs === null && !held.some((one) => one.name === name)) hold.untilMs = now;
    }
    for (const { name } of held) {
      const hold = this.holds.get(name);
      if (hold === undefined) this.holds.set(name, { sinceMs: now, beforeMs: 0, untilMs: null });
      else if (hold.untilMs !== null) {
        const beforeMs = hold.beforeMs + hold.untilMs - hold.sinceMs;
        this.holds.set(name, { sinceMs: now, beforeMs, untilMs: null });
      }
    }
    const { ledger } = state;
    for (const account of ledger.open) {
      const hold = this.holds.get(account.member);
      const heldMs = (ledger.bookedMs - (hold?.sinceMs ?? 0)) * this.world.ranksPerMember;
      this.must(
        "every held millisecond of a member is booked once",
        account.held === heldMs && heldMs >= 0,
        `${account.held} of ${heldMs} ms of ${account.member}`,
      );
    }
    for (const sums of [...ledger.open, ledger.closed]) {
      const parts = [sums.unsettled, sums.partial, ...Object.values(sums.totals)];
      this.must(
        "an account is the sum of its categories",
        parts.every((ms) => ms >= 0) && parts.reduce((sum, ms) => sum + ms, 0) === sums.held,
        `${parts.join(" + ")} are not ${sums.held}`,
      );
    }
    const was = totalOf(before.ledger).totals;
    const is = totalOf(ledger).totals;
    for (const category of LEDGER_CATEGORIES)
      this.must(
        "what is booked stays booked",
        (is[category] ?? 0) >= (was[category] ?? 0),
        `${category} ${was[category]} → ${is[category]}`,
      );
  }

  private ledgerCloses(state: JobState): void {
    const { world } = this;
    const total = totalOf(state.ledger);
    const heldMs = [...this.holds.values()].reduce(
      (sum, { sinceMs, beforeMs, untilMs }) => sum + beforeMs + (untilMs ?? sinceMs) - sinceMs,
      0,
    );
    this.must(
      "the ledger is held ranks × wall time",
      state.ledger.open.length === 0 && total.held === heldMs * world.ranksPerMember,
      `${total.held} booked, ${heldMs} ms × ${world.ranksPerMember} ranks`,
    );
    this.must(
      "nothing is unsettled at the end",
      total.unsettled + total.partial === 0,
      `${total.unsettled} + ${total.partial}`,
    );
    if (state.phase === "complete")
      this.must(
        "work that counts is productive",
        (total.totals.productive ?? 0) > 0,
        JSON.stringify(total.totals),
      );
  }

  private failsRightly(state: JobState): void {
    const { code, sentence } = state.reason;
    const isRight =
      (code === "BudgetExhausted" && this.world.faults > 0) ||
      (code === "UserError" && this.world.hadUserError) ||
      (code === "ExportFailed" && this.world.hadEffectFaults) ||
      (code === "GenerationImpossible" && this.world.faults >= 8);
    this.must("fails only when it must", isRight, `${code}: ${sentence}`);
  }

  private must(invariant: string, holds: boolean, detail: string): void {
    if (!holds) throw new Violation(invariant, `${detail} (at ${this.world.agenda.now} ms)`);
  }
}

function liveOf(state: JobState): Live | null {
  return "live" in state ? state.live : null;
}
