/** A member's agent: the roster, the fences and the standing messages of the real one. */
import type { Directive } from "../../packages/control-plane/src/core/directives.ts";
import type { Evidence, MemberEvent } from "../../packages/control-plane/src/core/events.ts";
import { partakers } from "../../packages/control-plane/src/core/prepared.ts";
import type {
  Holding,
  JobFacts,
  Seat as PlanSeat,
  SaveKeyState,
} from "../../packages/control-plane/src/core/state.ts";
import { Outbox } from "./outbox.ts";
import {
  type LaneReport,
  Rank,
  type RankDirective,
  type RankSaid,
  type ToldGeneration,
} from "./rank.ts";
import { SnapshotShelf } from "./snapshot-shelf.ts";
import type { World } from "./world.ts";

type Bare<T> = T extends unknown ? Omit<T, "member" | "incarnation"> : never;
export type Said =
  | Bare<MemberEvent>
  | { readonly kind: "step"; readonly lanes: readonly LaneReport[] }
  | {
      readonly kind: "beat";
      readonly ranks: readonly { readonly localRank: number; readonly silentMs: number }[];
    };
export type Told =
  | Exclude<Directive, { kind: "prepare" }>
  | { readonly kind: "prepare"; readonly plan: ToldGeneration }
  | { readonly kind: "ack"; readonly step: number }
  | RestartRank;
interface RestartRank {
  readonly kind: "restartRank";
  readonly localRank: number;
}

interface Slot {
  readonly localRank: number;
  pid: number;
  rank: Rank | null;
  loaded: boolean;
  holding: Holding | null;
  waits: boolean;
  generation: number;
  step: number;
  ready: Evidence | null;
  finished: boolean;
}

interface Seat {
  readonly generation: number;
  readonly localRanks: readonly number[];
  readonly firstRank: number;
  readonly staged: Map<number, Set<number>>;
}

const BEAT_MS = 1_000;
const STAGED_KEPT = 4;
const STOP_MS = 5_000;
const RESPAWN_MS = [0, 0, 1_000, 2_000, 5_000, 10_000];

export class Agent {
  readonly member: string;
  readonly slotNumber: number;
  readonly incarnation: number;
  readonly pid: number;
  readonly outbox = new Outbox<Said>();
  alive = true;
  stopping = false;
  refusals = 0;
  private readonly world: World;
  private readonly slots: Slot[] = [];
  private readonly deaths: number[] = [];
  private isLoadTold = false;
  private running: Seat | null = null;
  private prepared: Seat | null = null;
  private newest = 0;
  private readonly staged = new Map<
    string,
    { step: number; generation: number; wanted: boolean; files: Map<number, Map<number, number>> }
  >();
  private readonly snapshots = new SnapshotShelf();
  private readonly written = new Map<string, Said>();
  private readonly writing = new Set<string>();

  constructor(
    world: World,
    who: { member: string; slot: number; incarnation: number; pid: number },
  ) {
    this.world = world;
    this.member = who.member;
    this.slotNumber = who.slot;
    this.incarnation = who.incarnation;
    this.pid = who.pid;
    world.agenda.after(BEAT_MS, () => this.beat());
  }

  get ranks(): Rank[] {
    return this.slots.flatMap(({ rank }) => (rank?.alive ? [rank] : []));
  }

  hello(): Said {
    const { pid } = this;
    return { kind: "hello", pid, loaded: this.isLoaded(), runningGeneration: this.runningNumber };
  }

  /** The process and its ranks are gone at once. */
  die(): void {
    if (!this.alive) return;
    this.alive = false;
    this.outbox.close();
    for (const rank of this.ranks) rank.die("parent", false);
    this.world.memberEnded(this);
  }

  // -- from the control plane

  hear(told: Told): void {
    if (!this.alive) return;
    switch (told.kind) {
      case "load":
        this.load();
        return;
      case "prepare":
        this.prepare(told.plan);
        return;
      case "commit":
        if (this.prepared?.generation === told.generation) this.commit(told.step);
        return;
      case "discard":
        this.discard(told.generation);
        return;
      case "ack":
        this.outbox.acknowledge(told.step);
        return;
      case "persist":
        this.persist(told.begun.key);
        return;
      case "decided":
        this.decide(told.save);
        return;
      case "restartRank":
        this.slots[told.localRank]?.rank?.die("killed", false);
        return;
      case "stop":
        this.stop();
        return;
      default:
        told satisfies never;
    }
  }

  stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    this.tell(this.slots, { kind: "stop" });
    const check = (leftMs: number): void => {
      if (!this.alive) return;
      if (leftMs <= 0 || this.ranks.every(({ loaded }) => !loaded)) this.die();
      else this.world.agenda.after(100, () => check(leftMs - 100));
    };
    check(STOP_MS);
  }

  private load(): void {
    if (this.isLoadTold) return;
    this.isLoadTold = true;
    for (let localRank = 0; localRank < this.world.ranksPerMember; localRank++) {
      this.slots.push(emptySlot(localRank));
      this.deaths.push(0);
      this.spawn(localRank);
    }
  }

  private prepare(plan: ToldGeneration): void {
    if (plan.number <= this.newest) return;
    this.newest = plan.number;
    const own = partakers(plan).filter((seat) => seat.member === this.member);
    const first = own[0];
    if (first === undefined) return;
    this.prepared = {
      generation: plan.number,
      localRanks: own.map(({ localRank }) => localRank),
      firstRank: first.rank,
      staged: new Map(),
    };
    const seated = this.of(this.prepared);
    for (const slot of seated) {
      slot.ready = null;
      slot.waits = false;
    }
    this.outbox.withdraw("ready", "failed", "finished", "interrupted");
    // A rank knows its number from its member's entry, not from a pid.
    const asKnown = (seat: PlanSeat): PlanSeat => {
      const slot = seat.member === this.member ? this.slots[seat.localRank] : undefined;
      return slot === undefined ? seat : { ...seat, pid: slot.pid };
    };
    const seats = plan.seats.map(asKnown);
    const leavers = plan.leavers.map(asKnown);
    this.world.rememberPlan(plan);
    const resting = plan.source.kind === "snapshot" ? this.snapshots.of(plan.source) : new Map();
    const told = { ...plan, seats, leavers };
    this.tell(seated, { kind: "prepare", generation: plan.number, plan: told, resting });
  }

  private commit(step: number): void {
    const seat = this.prepared;
    if (seat === null) return;
    this.prepared = null;
    this.running = seat;
    this.snapshots.undoBeyond(step);
    for (const slot of this.of(seat)) {
      slot.holding = null;
      slot.finished = false;
      slot.waits = false;
      slot.generation = seat.generation;
      slot.step = step;
    }
    this.outbox.withdraw("ready", "interrupted", "finished");
    this.tell(this.of(seat), { kind: "commit", generation: seat.generation, step });
  }

  private discard(generation: number): void {
    if (this.prepared?.generation === generation) {
      this.tell(this.of(this.prepared), { kind: "discard", generation });
      this.prepared = null;
      this.outbox.withdraw("ready", "failed");
    } else if (generation > this.newest) {
      this.newest = generation;
      for (const slot of this.slots) {
        if (slot.loaded && slot.generation !== this.runningNumber) slot.waits = true;
      }
      this.tellInterrupted();
    } else if (this.running?.generation === generation) {
      this.tell(this.of(this.running), { kind: "discard", generation });
    }
  }

  // -- from the ranks

  private spawn(localRank: number): void {
    const deaths = this.deaths[localRank] ?? 0;
    this.world.agenda.after(RESPAWN_MS[Math.min(deaths, RESPAWN_MS.length - 1)] ?? 0, () => {
      if (!this.alive || this.stopping) return;
      const slot = this.slots[localRank];
      if (slot === undefined) return;
      const facts = {
        pid: this.world.nextPid(),
        localRank,
        member: this.member,
        incarnation: this.incarnation,
      };
      slot.rank = new Rank(this.world, facts, {
        said: (said) => this.onRank(facts.localRank, facts.pid, said),
        ended: (rank, cause) => this.onEnd(rank, cause),
      });
      slot.pid = facts.pid;
      this.world.ranks.push(slot.rank);
    });
  }

  private onEnd(rank: Rank, cause: string): void {
    this.world.agenda.after(this.world.draw.ms(0, 30), () => {
      if (!this.alive || this.stopping) return;
      const { localRank, pid } = rank;
      this.tellSnapshots();
      this.slots[localRank] = emptySlot(localRank);
      this.deaths[localRank] = (this.deaths[localRank] ?? 0) + 1;
      this.outbox.withdraw("loaded");
      const sentence = `the rank ended: ${cause}`;
      const respawning = cause !== "user_error";
      this.outbox.postStanding(`exit ${pid}`, {
        kind: "rankExit",
        localRank,
        pid,
        cause,
        sentence,
        respawning,
      });
      if (this.prepared?.localRanks.includes(localRank))
        this.failGeneration(this.prepared.generation, "RankExit", sentence);
      this.outbox.withdraw("interrupted");
      this.tellInterrupted();
      if (respawning) this.spawn(localRank);
    });
  }

  private onRank(localRank: number, pid: number, { generation, body }: RankSaid): void {
    const slot = this.slots[localRank];
    if (!this.alive || slot === undefined || slot.pid !== pid) return;
    const ofPrepared = body.kind === "ready" || body.kind === "failed";
    const ofRunning =
      body.kind === "step" ||
      body.kind === "staged" ||
      body.kind === "snapshot" ||
      body.kind === "finished";
    if (ofPrepared && this.prepared?.generation !== generation) return;
    if (ofRunning && this.runningNumber !== generation) return;
    if (body.kind === "interrupted" && generation !== 0 && generation !== this.runningNumber)
      return;
    switch (body.kind) {
      case "hello":
        this.tell([slot], { kind: "start" });
        return;
      case "loaded":
        this.onLoaded(slot);
        return;
      case "ready":
        this.onReady(slot, body.evidence);
        return;
      case "failed":
        if (body.code === "SnapshotMissing") this.forgetSnapshot(generation);
        this.failGeneration(generation, body.code, body.sentence);
        return;
      case "step":
        slot.step = Math.max(slot.step, body.step);
        this.outbox.postStep(`${generation} ${body.step} ${localRank}`, body.step, {
          kind: "step",
          lanes: body.lanes,
        });
        return;
      case "staged":
        this.onStaged(slot, generation, body);
        return;
      case "snapshot":
        this.snapshots.add(generation, body);
        return;
      case "interrupted":
        slot.holding = body.holding;
        slot.waits = true;
        this.tellInterrupted();
        return;
      case "finished":
        this.onFinished(slot, body.step);
        return;
      default:
        body satisfies never;
    }
  }

  private onLoaded(slot: Slot): void {
    slot.loaded = true;
    this.deaths[slot.localRank] = 0;
    if (!this.isLoaded()) return;
    this.tellSnapshots();
    this.outbox.withdrawPrefix("exit ");
    const ranks = this.slots.map(({ localRank, pid }) => ({ localRank, pid, holding: null }));
    this.outbox.postStanding("loaded", { kind: "loaded", facts: this.world.facts, ranks });
  }

  private onReady(slot: Slot, evidence: Evidence): void {
    slot.ready = evidence;
    const seat = this.prepared;
    if (seat === null) return;
    const found = this.of(seat).flatMap(({ ready }) => (ready === null ? [] : [ready]));
    if (found.length < seat.localRanks.length) return;
    const { generation } = seat;
    this.outbox.postStanding("ready", { kind: "ready", generation, evidence: found, seconds: 0 });
  }

  private failGeneration(generation: number, code: string, sentence: string): void {
    const reason = { code, sentence };
    this.outbox.postStanding("failed", { kind: "generationFailed", generation, reason });
  }

  private onFinished(slot: Slot, step: number): void {
    slot.finished = true;
    const seat = this.running;
    if (seat === null || this.of(seat).some(({ finished }) => !finished)) return;
    const { generation } = seat;
    this.outbox.postStanding("finished", { kind: "finished", generation, step });
  }

  private tellInterrupted(): void {
    const ranks = this.slots
      .filter(({ waits }) => waits)
      .map((slot) => ({ localRank: slot.localRank, pid: slot.pid, holding: this.holdingOf(slot) }));
    if (ranks.length === 0) return;
    this.tellSnapshots();
    const generation = this.runningNumber;
    this.outbox.postStanding("interrupted", { kind: "interrupted", generation, ranks });
  }

  /** What one rank could not take up, no other can. */
  private forgetSnapshot(generation: number): void {
    const source = this.world.planOf(generation)?.source;
    if (source?.kind !== "snapshot") return;
    this.snapshots.drop(source);
    this.tellSnapshots();
  }

  private tellSnapshots(): void {
    const snapshots = this.snapshots.untold();
    if (snapshots !== null) this.outbox.postStanding("snapshots", { kind: "snapshots", snapshots });
  }

  private holdingOf(slot: Slot): Holding {
    if (slot.holding !== null) return slot.holding;
    const { running } = this;
    if (running === null || slot.generation !== running.generation)
      return { generation: 0, rank: 0, version: 0, pending: false };
    const at = running.localRanks.indexOf(slot.localRank);
    const rank = at < 0 ? 0 : running.firstRank + at;
    return { generation: slot.generation, rank, version: slot.step, pending: false };
  }

  // -- saves

  private onStaged(
    slot: Slot,
    generation: number,
    body: Extract<RankSaid["body"], { kind: "staged" }>,
  ): void {
    const { step, trigger } = body;
    const key = `${generation} ${step}`;
    const found = this.staged.get(key) ?? { step, generation, wanted: false, files: new Map() };
    this.staged.set(key, found);
    if (body.blocks.size > 0) found.files.set(body.writer, new Map(body.blocks));
    const waiting = [...this.staged].filter(([, one]) => !one.wanted).map(([name]) => name);
    for (const name of waiting.slice(0, -STAGED_KEPT)) this.staged.delete(name);
    const seat = this.running;
    if (seat === null) return;
    const done = (seat.staged.get(step) ?? new Set<number>()).add(slot.localRank);
    seat.staged.set(step, done);
    if (done.size < seat.localRanks.length) return;
    seat.staged.delete(step);
    this.outbox.postStanding(`staged ${key}`, { kind: "staged", generation, step, trigger });
  }

  private persist(key: SaveKeyState): void {
    const found = this.staged.get(`${key.generation} ${key.step}`);
    if (found === undefined) {
      const reason = { code: "NOT_STAGED", sentence: "not staged here" };
      this.outbox.postStanding(`save ${key.saveId} 0`, {
        kind: "saveFailed",
        key,
        writer: 0,
        reason,
      });
      return;
    }
    found.wanted = true;
    for (const [writer, blocks] of found.files) {
      const place = `save ${key.saveId} ${writer}`;
      const said = this.written.get(place);
      if (said !== undefined) this.outbox.postStanding(place, said);
      else if (!this.writing.has(place)) {
        this.writing.add(place);
        this.world.agenda.after(this.world.writeMs(), () => this.write(key, writer, blocks));
      }
    }
  }

  private write(key: SaveKeyState, writer: number, blocks: ReadonlyMap<number, number>): void {
    if (!this.alive) return;
    const place = `save ${key.saveId} ${writer}`;
    this.writing.delete(place);
    if (this.world.diskIsFull()) {
      const reason = { code: "ENOSPC", sentence: "no space left" };
      this.outbox.postStanding(place, { kind: "saveFailed", key, writer, reason });
      return;
    }
    const { step, generation } = key;
    this.world.desk.wrote(key.saveId, writer, { step, generation, blocks });
    const prepared = {
      writer,
      incarnation: 0,
      manifestPath: "",
      manifestSha256: "",
      bytes: blocks.size,
    };
    const said: Said = { kind: "wrote", key, prepared };
    this.written.set(place, said);
    this.outbox.postStanding(place, said);
  }

  private decide({ generation, step, key }: Extract<Directive, { kind: "decided" }>["save"]): void {
    this.staged.delete(`${generation} ${step}`);
    this.outbox.withdraw(`staged ${generation} ${step}`);
    if (key !== null) this.outbox.withdrawPrefix(`save ${key.saveId} `);
  }

  // -- the rest

  private beat(): void {
    if (!this.alive) return;
    this.tellSnapshots();
    const { now } = this.world.agenda;
    // A rank that is well proves it by itself; only a hung one is silent.
    const ranks = this.slots
      .filter(({ rank }) => rank?.hung)
      .map(({ localRank, rank }) => ({ localRank, silentMs: now - (rank?.lastHeardMs ?? now) }));
    if (ranks.length > 0) this.outbox.post({ kind: "beat", ranks });
    this.world.agenda.after(BEAT_MS, () => this.beat());
  }

  private get runningNumber(): number {
    return this.running?.generation ?? 0;
  }

  private isLoaded(): boolean {
    return this.slots.length > 0 && this.slots.every(({ loaded }) => loaded);
  }

  private of(seat: Seat): Slot[] {
    return this.slots.filter(({ localRank }) => seat.localRanks.includes(localRank));
  }

  private tell(slots: readonly Slot[], directive: RankDirective): void {
    for (const { rank } of slots) rank?.fromAgent.send(directive);
  }
}

function emptySlot(localRank: number): Slot {
  return {
    localRank,
    pid: 0,
    rank: null,
    loaded: false,
    holding: null,
    waits: false,
    generation: 0,
    step: 0,
    ready: null,
    finished: false,
  };
}

export type { JobFacts };
