/** A rank process: the loop, the membership and the commit point of the real one, over numbers instead of tensors. */
import type { BlockMap, LaneRange } from "@shardwright/planner";
import type { Evidence } from "../../packages/control-plane/src/core/events.ts";
import { snapshotMapOf } from "../../packages/control-plane/src/core/snapshots.ts";
import type { Holding, PreparedGeneration } from "../../packages/control-plane/src/core/state.ts";
import { Pipe } from "./agenda.ts";
import { blockAfter, blockAtStart, laneContent, parametersOf, reducedOf } from "./exact.ts";
import type { Gang } from "./gang.ts";
import type { World } from "./world.ts";

/** A generation as its ranks are told it. */
export interface ToldGeneration extends PreparedGeneration {
  /** Steps the journal held when it was sent. */
  readonly recordedStep: number;
}

export type RankDirective =
  | { readonly kind: "start" }
  | {
      readonly kind: "prepare";
      readonly generation: number;
      readonly plan: ToldGeneration;
      /** What the agent keeps of the snapshot it starts from. */
      readonly resting: ReadonlyMap<number, number>;
    }
  | { readonly kind: "commit"; readonly generation: number; readonly step: number }
  | { readonly kind: "discard"; readonly generation: number }
  | { readonly kind: "stop" };

/** Content of one lane as a report tells it; `step` counts steps done. */
export interface LaneReport {
  readonly step: number;
  readonly lane: number;
  readonly content: number;
}

export interface RankSaid {
  readonly generation: number;
  readonly body:
    | { readonly kind: "hello" | "loaded" }
    | { readonly kind: "ready"; readonly evidence: Evidence }
    | { readonly kind: "failed"; readonly code: string; readonly sentence: string }
    | { readonly kind: "step"; readonly step: number; readonly lanes: readonly LaneReport[] }
    | {
        readonly kind: "staged";
        readonly step: number;
        readonly trigger: "periodic" | "final";
        readonly writer: number;
        /** Content of owned blocks; empty when the rank owns nothing. */
        readonly blocks: ReadonlyMap<number, number>;
      }
    | {
        readonly kind: "snapshot";
        readonly step: number;
        readonly rank: number;
        /** Content of the blocks that the snapshot map gives this rank. */
        readonly blocks: ReadonlyMap<number, number>;
        /** The newest that all ranks have taken before. */
        readonly complete: number;
      }
    | { readonly kind: "interrupted"; readonly holding: Holding }
    | { readonly kind: "finished"; readonly step: number };
}

interface Membership {
  readonly plan: ToldGeneration;
  readonly rank: number;
  readonly gang: Gang;
  readonly blocks: Map<number, number>;
}

interface Pending {
  readonly step: number;
  readonly lanes: readonly number[];
  /** Known to have been reduced by everybody. */
  agreed: boolean;
}

// As in the trainer: history of the latest steps, told again after a regroup.
const HISTORY_KEPT = 64;
const CONNECT_TIMEOUT_MS = 10_000;
const COLLECTIVE_TIMEOUT_MS = 45_000;

type Place = "loading" | "waiting" | "joining" | "verdict" | "stepping";

export class Rank {
  readonly pid: number;
  readonly localRank: number;
  readonly member: string;
  readonly incarnation: number;
  alive = true;
  hung = false;
  loaded = false;
  lastHeardMs: number;
  /** Ends with a user error at the next step. */
  poisoned = false;
  /** Ends right after it has passed this collective. */
  diesAfter: "reduce" | "agree" | "barrier" | "gather" | "snapshot" | null = null;
  /** Its next evidence is wrong. */
  lies = false;
  committed: Membership | null = null;
  version = 0;
  pending: Pending | null = null;
  running = 0;
  readonly toAgent: Pipe<RankSaid>;
  readonly fromAgent: Pipe<RankDirective>;
  private readonly world: World;
  private readonly ended: (rank: Rank, cause: string) => void;
  private place: Place = "loading";
  private newest = 0;
  private inbox: RankDirective[] = [];
  private gang: Gang | null = null;
  /** What it connects for, while it does. */
  private joining: ToldGeneration | null = null;
  private candidate: Membership | null = null;
  private candidateVersion = 0;
  private parameters = 0;
  private resting: ReadonlyMap<number, number> = new Map();
  private takenStep = 0;
  private history: { step: number; lanes: readonly number[] }[] = [];
  /** Grows with every change of place: what was due for an older one is void. */
  private turn = 0;

  constructor(
    world: World,
    facts: { pid: number; localRank: number; member: string; incarnation: number },
    links: { said: (said: RankSaid) => void; ended: (rank: Rank, cause: string) => void },
  ) {
    this.world = world;
    this.pid = facts.pid;
    this.localRank = facts.localRank;
    this.member = facts.member;
    this.incarnation = facts.incarnation;
    this.ended = links.ended;
    this.lastHeardMs = world.agenda.now;
    const delay = (): number => world.draw.ms(1, 6);
    this.toAgent = new Pipe(world.agenda, delay, links.said);
    this.fromAgent = new Pipe(world.agenda, delay, (directive) => this.hear(directive));
    this.later(world.draw.ms(20, 200), () => this.say(0, { kind: "hello" }));
  }

  holding(): Holding {
    if (this.committed === null) return { generation: 0, rank: 0, version: 0, pending: false };
    const { plan, rank } = this.committed;
    const pending = this.pending?.agreed === true;
    return { generation: plan.number, rank, version: this.version, pending };
  }

  /** The process ends now. */
  die(cause: string, lateWords: boolean): void {
    if (!this.alive) return;
    this.alive = false;
    this.turn++;
    this.gang?.leave();
    this.toAgent.close(lateWords);
    this.fromAgent.close(false);
    this.ended(this, cause);
  }

  private hear(directive: RankDirective): void {
    if (!this.alive) return;
    if (directive.kind === "start") {
      this.later(this.world.loadMs(), () => {
        this.loaded = true;
        this.place = "waiting";
        this.say(0, { kind: "loaded" });
        this.regroup();
      });
      return;
    }
    this.inbox.push(directive);
    if (this.hung) return;
    if (this.place === "waiting") this.regroup();
    else if (this.place === "verdict") this.lookForVerdict();
  }

  /** Waits for a generation: takes what there is to take. */
  private regroup(): void {
    while (this.place === "waiting" && this.alive && !this.hung) {
      const directive = this.inbox.shift();
      if (directive === undefined) return;
      if (directive.kind === "stop") this.die("stopped", true);
      else if (directive.kind === "discard" && directive.generation === this.running) {
        this.disconnect();
        this.reportHolding();
      } else if (directive.kind === "prepare" && directive.generation > this.newest) {
        this.newest = directive.generation;
        this.resting = directive.resting;
        this.join(directive.plan);
      }
    }
  }

  private join(plan: ToldGeneration): void {
    const seat = [...plan.seats, ...plan.leavers].find((one) => one.pid === this.pid);
    this.moveTo("joining");
    this.joining = plan;
    if (seat === undefined) {
      this.failJoin(plan, "PlanRefused", "this rank is not in the generation");
      return;
    }
    this.disconnect();
    if (this.world.storeIsDown()) {
      this.later(50, () => this.failJoin(plan, "PeerLost", "the rendezvous store is away"));
      return;
    }
    const gang = this.world.gangOf(`${plan.number}`, plan.seats.length + plan.leavers.length);
    this.gang = gang;
    const { turn } = this;
    this.world.agenda.after(CONNECT_TIMEOUT_MS, () => {
      if (this.alive && this.turn === turn && !this.hung)
        this.failJoin(plan, "PeerLost", "the generation did not connect in time");
    });
    this.together(gang, "connect", { rank: seat.rank, data: null }, () => {
      this.handshake(plan, seat.rank, gang);
    });
  }

  private handshake(plan: ToldGeneration, rank: number, gang: Gang): void {
    const mine = { version: this.version, pending: this.pending };
    this.together(gang, "handshake", { rank, data: mine }, (peers) => {
      const problem = this.settle(plan, peers);
      if (problem === null) this.move(plan, rank, gang);
      else this.failJoin(plan, "VersionUnreachable", problem);
    });
  }

  /** Finishes the pending step or drops it; or forgets everything when the state comes from elsewhere. */
  private settle(
    plan: ToldGeneration,
    peers: readonly { version: number; pending: Pending | null }[],
  ): string | null {
    const { source } = plan;
    if (source.kind !== "live") {
      this.committed = null;
      this.candidate = null;
      this.pending = null;
      this.version = 0;
      return null;
    }
    if (this.committed !== null) {
      const { pending } = this;
      if (this.version === source.targetVersion - 1 && pending !== null) {
        const known = peers.some(
          (peer) => peer.pending?.agreed === true && peer.pending.step === pending.step,
        );
        const applied = peers.some((peer) => peer.version === source.targetVersion);
        if (known || (applied && pending.agreed)) this.update(this.committed, pending);
      }
      if (this.version !== source.targetVersion)
        return `this rank is at version ${this.version} and cannot reach ${source.targetVersion}`;
      this.pending = null;
    }
    return null;
  }

  /** Blocks travel by the plan; kept ones stay. */
  private move(plan: ToldGeneration, rank: number, gang: Gang): void {
    const live = this.committed?.blocks ?? new Map<number, number>();
    const old = plan.source.kind === "snapshot" ? new Map(this.resting) : live;
    const held = blocksHeld(plan.blockMap, rank);
    this.together(gang, "move", { rank, data: new Map(old) }, (all) => {
      const blocks = new Map<number, number>();
      for (const block of held) {
        const found = this.blockFrom({ plan, rank, block, old }, all);
        if (found === undefined) {
          const code = plan.source.kind === "snapshot" ? "SnapshotMissing" : "TransferRefused";
          this.failJoin(plan, code, `block ${block} comes from nobody`);
          return;
        }
        blocks.set(block, found);
      }
      if (plan.leavers.length === 0) this.verify(plan, rank, gang, blocks);
      else this.partFromLeavers(plan, rank, gang, blocks);
    });
  }

  /** Who leaves has given what it had; the others connect anew without it. */
  private partFromLeavers(
    plan: ToldGeneration,
    rank: number,
    gang: Gang,
    blocks: Map<number, number>,
  ): void {
    this.together(gang, "part", { rank, data: null }, () => {
      if (rank >= plan.seats.length) {
        this.candidate = { plan, rank, gang, blocks };
        this.sayReady(plan, rank, { owned: 0, held: 0 });
        return;
      }
      const rest = this.world.gangOf(`${plan.number} run`, plan.seats.length);
      this.gang = rest;
      this.together(rest, "connect", { rank, data: null }, () => {
        this.verify(plan, rank, rest, blocks);
      });
    });
  }

  private blockFrom(
    want: { plan: ToldGeneration; rank: number; block: number; old: Map<number, number> },
    all: readonly Map<number, number>[],
  ): number | undefined {
    const { plan, rank, block, old } = want;
    const { source } = plan;
    switch (source.kind) {
      case "fresh":
        return blockAtStart(block);
      case "checkpoint":
        return this.world.desk.restored(source.commit, block);
      case "snapshot":
      case "live": {
        if (old.has(block)) return old.get(block);
        const carries = source.transfer.moves.find(
          (move) =>
            move.targetRank === rank &&
            block >= move.firstBlock &&
            block < move.firstBlock + move.blocks,
        );
        return carries === undefined ? undefined : all[carries.sourceRank]?.get(block);
      }
      default:
        return source satisfies never;
    }
  }

  /** Copies agree with their owners, and everybody has all parameters; then the verdict is waited for. */
  private verify(
    plan: ToldGeneration,
    rank: number,
    gang: Gang,
    blocks: Map<number, number>,
  ): void {
    this.together(gang, "verify", { rank, data: blocks }, (all) => {
      const parameters = gathered(plan.blockMap, all);
      for (const [block, content] of blocks) {
        if (parameters[block] !== content) {
          this.failJoin(plan, "ReplicaDiffers", `copies of block ${block} differ`);
          return;
        }
      }
      this.parameters = parametersOf(parameters);
      this.candidate = { plan, rank, gang, blocks };
      this.candidateVersion = plan.step;
      if (plan.source.kind !== "fresh") this.version = plan.step;
      const owned = blocksOwned(plan.blockMap, rank).length;
      this.sayReady(plan, rank, { owned, held: blocks.size });
    });
  }

  private sayReady(
    plan: ToldGeneration,
    rank: number,
    { owned, held }: { readonly owned: number; readonly held: number },
  ): void {
    const isTrue = !this.lies;
    this.lies = false;
    if (isTrue) this.world.noteReady(plan.number, rank);
    this.say(plan.number, {
      kind: "ready",
      evidence: {
        rank,
        ownedBlocks: isTrue ? owned : owned + 1,
        replicaBlocks: held - owned,
        version: this.version,
        ...bytesMoved(plan, rank),
      },
    });
    this.moveTo("verdict");
    this.lookForVerdict();
  }

  private lookForVerdict(): void {
    while (this.place === "verdict" && this.candidate !== null) {
      const ahead = this.inbox[0];
      if (ahead === undefined) return;
      const { number } = this.candidate.plan;
      if (ahead.kind === "stop" || (ahead.kind === "prepare" && ahead.generation > number)) {
        this.dropCandidate();
        return;
      }
      this.inbox.shift();
      if (!("generation" in ahead) || ahead.generation !== number) continue;
      if (ahead.kind === "discard") {
        this.dropCandidate(true);
        return;
      }
      if (ahead.kind === "commit") this.run(this.candidate, ahead.step);
    }
  }

  private dropCandidate(report = false): void {
    this.candidate = null;
    this.disconnect();
    this.moveTo("waiting");
    if (report) this.reportHolding();
    this.regroup();
  }

  private failJoin(plan: ToldGeneration, code: string, sentence: string): void {
    this.candidate = null;
    this.disconnect();
    this.say(plan.number, { kind: "failed", code, sentence });
    this.moveTo("waiting");
    this.reportHolding();
    this.regroup();
  }

  private run(membership: Membership, step: number): void {
    const { world } = this;
    this.committed = membership;
    this.candidate = null;
    this.running = membership.plan.number;
    this.takenStep = 0;
    this.version = this.candidateVersion;
    world.watch.rankRuns(this, membership.plan.number, step);
    this.tellAgain(membership.plan.recordedStep, step);
    this.moveTo("stepping");
    this.nextStep();
  }

  /** Steps whose reports may have died with others. What a step consumed depends on the data alone, so every rank knows it. */
  private tellAgain(recordedStep: number, until: number): void {
    for (let step = recordedStep; step < until; step++) {
      const known = this.history.find((one) => one.step === step)?.lanes;
      const lanes = known ?? this.world.consumed(step);
      this.report(step, lanes, 0, lanes.length);
    }
  }

  private nextStep(): void {
    const { committed, world } = this;
    if (committed === null) return;
    if (this.version >= world.shape.totalSteps) {
      this.stage("final");
      this.say(this.running, { kind: "finished", step: this.version });
      this.moveTo("waiting");
      this.regroup();
      return;
    }
    if (this.isAskedToLeave()) {
      this.leave();
      return;
    }
    const step = this.version;
    const range = committed.plan.lanes.find(({ rank }) => rank === committed.rank);
    this.pending = null;
    this.later(world.computeMs(this), () => {
      if (this.poisoned) {
        this.die("user_error", true);
        return;
      }
      this.reduce(committed, step, range);
    });
  }

  private isAskedToLeave(): boolean {
    for (;;) {
      const ahead = this.inbox[0];
      if (ahead === undefined) return false;
      if (ahead.kind === "stop") return true;
      if (ahead.kind === "discard" && ahead.generation === this.running) return true;
      if (ahead.kind === "prepare" && ahead.generation > this.newest) return true;
      this.inbox.shift();
    }
  }

  /** Back to the boundary: the peers notice, the holding is told. */
  private leave(): void {
    this.disconnect();
    this.moveTo("waiting");
    this.reportHolding();
    this.regroup();
  }

  private reduce(committed: Membership, step: number, range: LaneRange | undefined): void {
    const mine: number[] = [];
    for (let lane = range?.begin ?? 0; lane < (range?.end ?? 0); lane++)
      mine.push(laneContent(step, lane, this.parameters));
    const { gang, rank } = committed;
    this.together(gang, `reduce ${step}`, { rank, data: mine }, (parts) => {
      const lanes = parts.flat();
      this.pending = { step, lanes, agreed: false };
      const { pending } = this;
      this.together(gang, `agree ${step}`, { rank, data: null }, () => {
        pending.agreed = true;
        this.together(gang, `barrier ${step}`, { rank, data: null }, () => {
          this.update(committed, pending);
          this.gather(committed, step, lanes, range);
        });
      });
    });
  }

  private gather(
    committed: Membership,
    step: number,
    lanes: readonly number[],
    range: LaneRange | undefined,
  ): void {
    const { gang, rank, plan, blocks } = committed;
    this.together(gang, `gather ${step}`, { rank, data: new Map(blocks) }, (all) => {
      this.parameters = parametersOf(gathered(plan.blockMap, all));
      this.report(step, lanes, range?.begin ?? 0, range?.end ?? 0);
      const { saveEverySteps, totalSteps } = this.world.shape;
      if (this.version % saveEverySteps === 0 && this.version < totalSteps) this.stage("periodic");
      const { snapshotEverySteps: every } = this.world.shape;
      if (every > 0 && this.version % every === 0 && this.version < totalSteps)
        this.snapshot(committed);
      else this.nextStep();
    });
  }

  /** Applies the pending step to every held block; nothing can interrupt it halfway. */
  private update(membership: Membership, pending: Pending): void {
    const reduced = reducedOf(pending.lanes);
    for (const [block, content] of membership.blocks)
      membership.blocks.set(block, blockAfter(content, pending.step, reduced));
    this.version = pending.step + 1;
    this.pending = null;
    this.history = [
      ...this.history.filter(({ step }) => step < pending.step),
      { step: pending.step, lanes: pending.lanes },
    ].slice(-HISTORY_KEPT);
    this.world.watch.applied(this, membership.plan.number, membership.blocks);
  }

  private report(step: number, lanes: readonly number[], begin: number, end: number): void {
    const own = lanes
      .slice(begin, end)
      .map((content, index): LaneReport => ({ step: step + 1, lane: begin + index, content }));
    this.say(this.running, { kind: "step", step: step + 1, lanes: own });
  }

  private stage(trigger: "periodic" | "final"): void {
    const { committed } = this;
    if (committed === null) return;
    const blocks = new Map<number, number>();
    for (const block of blocksOwned(committed.plan.blockMap, committed.rank))
      blocks.set(block, committed.blocks.get(block) ?? 0);
    const { version: step } = this;
    this.say(this.running, { kind: "staged", step, trigger, writer: committed.rank, blocks });
  }

  /** All ranks together: what each keeps comes from the owners where it is not held live. */
  private snapshot({ gang, rank, plan, blocks }: Membership): void {
    const step = this.version;
    const data = { taken: this.takenStep, blocks: new Map(blocks) };
    this.together(gang, `snapshot ${step}`, { rank, data }, (all) => {
      const content = gathered(
        plan.blockMap,
        all.map((one) => one.blocks),
      );
      const kept = new Map(
        blocksHeld(snapshotMapOf(plan), rank).map((block) => [block, content[block] ?? 0]),
      );
      const complete = Math.min(...all.map(({ taken }) => taken));
      this.takenStep = step;
      this.say(this.running, { kind: "snapshot", step, rank, blocks: kept, complete });
      this.nextStep();
    });
  }

  private reportHolding(): void {
    this.say(this.running, { kind: "interrupted", holding: this.holding() });
  }

  private say(generation: number, body: RankSaid["body"]): void {
    this.lastHeardMs = this.world.agenda.now;
    this.toAgent.send({ generation, body });
  }

  private disconnect(): void {
    this.gang?.leave();
    this.gang = null;
  }

  private moveTo(place: Place): void {
    this.place = place;
    this.turn++;
  }

  /** A collective; whoever is left alone in it is back at the boundary. */
  private together<D>(
    gang: Gang,
    name: string,
    { rank, data }: { readonly rank: number; readonly data: D },
    pass: (all: readonly D[]) => void,
  ): void {
    const { turn } = this;
    let over = false;
    const isCurrent = (): boolean => !over && this.alive && !this.hung && this.turn === turn;
    const fail = (): void => {
      if (!isCurrent()) return;
      over = true;
      if (this.place === "joining") {
        if (this.joining !== null) this.failJoin(this.joining, "PeerLost", "a peer left");
      } else this.leave();
    };
    gang.meet(name, {
      rank,
      data,
      fail,
      pass: (all: readonly D[]) => {
        if (!isCurrent()) return;
        over = true;
        pass(all);
        if (this.diesAfter !== null && name.startsWith(this.diesAfter))
          this.die("killed", this.world.draw.chance(0.5));
      },
    });
    this.world.agenda.after(COLLECTIVE_TIMEOUT_MS, fail);
  }

  private later(ms: number, work: () => void): void {
    const { turn } = this;
    this.world.agenda.after(ms, () => {
      if (this.alive && !this.hung && this.turn === turn) work();
    });
  }
}

export function blocksHeld(map: BlockMap, rank: number): number[] {
  return blocksWhere(map, (holders) => holders.includes(rank));
}

export function blocksOwned(map: BlockMap, rank: number): number[] {
  return blocksWhere(map, (holders) => holders[0] === rank);
}

function blocksWhere(map: BlockMap, isOf: (holders: readonly number[]) => boolean): number[] {
  return map.runs.flatMap(({ firstBlock, blocks, holders }) =>
    isOf(holders) ? Array.from({ length: blocks }, (_, index) => firstBlock + index) : [],
  );
}

/** Content of every block as its owner has it. */
function gathered(map: BlockMap, all: readonly ReadonlyMap<number, number>[]): number[] {
  const content: number[] = [];
  for (const { firstBlock, blocks, holders } of map.runs) {
    for (let block = firstBlock; block < firstBlock + blocks; block++)
      content[block] = all[holders[0] ?? 0]?.get(block) ?? 0;
  }
  return content;
}

/** Bytes of state that the plan takes from a rank and brings to it. */
function bytesMoved(
  { source }: ToldGeneration,
  rank: number,
): { readonly sentBytes: number; readonly receivedBytes: number } {
  const moves = "transfer" in source ? source.transfer.moves : [];
  const sum = (of: "sourceRank" | "targetRank"): number =>
    moves.reduce((bytes, move) => (move[of] === rank ? bytes + move.bytes : bytes), 0);
  return { sentBytes: sum("sourceRank"), receivedBytes: sum("targetRank") };
}
