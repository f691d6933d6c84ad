/** AgentService messages ↔ the core's plain data. Nothing is decided here. */

import {
  blockMapToWire,
  lanesToWire,
  layoutFromWire,
  planToWire,
  transferToWire,
} from "@shardwright/planner";
import type {
  GenerationMember,
  PrepareGeneration,
  RankHolding,
  SaveKey,
  SessionRequest,
  SessionResponse,
  StateSource,
  StepReport,
} from "@shardwright/proto";
import type { Directive } from "../core/directives.ts";
import { partakers } from "../core/prepared.ts";
import { snapshotMapOf } from "../core/snapshots.ts";
import {
  type Holding,
  type JobFacts,
  liveOf,
  type MemberEvent,
  type PreparedGeneration,
  type SaveKeyState,
} from "../core/state.ts";
import type { RankStep } from "../core/step-measure.ts";
import type { JobRecord, LaneRow } from "../ports.ts";

type Said<K extends MemberEvent["kind"]> = Omit<
  Extract<MemberEvent, { readonly kind: K }>,
  "member" | "incarnation"
>;
export type MemberSaid = { [K in MemberEvent["kind"]]: Said<K> }[MemberEvent["kind"]];

/** What a member's message means to the job; null for beats, steps and logs, which take other ways. */
export function eventOf(request: SessionRequest): MemberSaid | null {
  const generation = Number(request.generation);
  const { body } = request;
  switch (body?.$case) {
    case "hello": {
      const { pid, loaded, runningGeneration } = body.value;
      return { kind: "hello", pid, loaded, runningGeneration: Number(runningGeneration) };
    }
    case "loading": {
      const { phase, doneRatio, detail } = body.value;
      return {
        kind: "loading",
        doing: `${phase} ${Math.round(doneRatio * 100)} % ${detail}`.trim(),
      };
    }
    case "loaded": {
      const { ranks } = body.value;
      return {
        kind: "loaded",
        facts: factsOf(body.value),
        ranks: ranks.map((rank) => ({ localRank: rank.localRank, pid: rank.pid, holding: null })),
      };
    }
    case "ready":
      return {
        kind: "ready",
        generation,
        seconds: secondsOf(body.value.seconds),
        evidence: body.value.ranks.map((rank) => ({
          rank: rank.rank,
          ownedBlocks: rank.ownedBlocksCount,
          replicaBlocks: rank.replicaBlocksCount,
          version: Number(rank.version),
          sentBytes: Number(rank.sentBytes),
          receivedBytes: Number(rank.receivedBytes),
        })),
      };
    case "generationFailed":
      return {
        kind: "generationFailed",
        generation,
        reason: { code: body.value.code, sentence: body.value.sentence },
      };
    case "interrupted":
      return {
        kind: "interrupted",
        generation,
        ranks: body.value.ranks.map((rank) => ({
          localRank: rank.localRank,
          pid: rank.pid,
          holding: holdingOf(rank),
        })),
      };
    case "rankExit": {
      const { localRank, pid, cause, sentence, respawning } = body.value;
      return { kind: "rankExit", localRank, pid, cause, sentence, respawning };
    }
    case "saveStaged": {
      const { step, trigger } = body.value;
      return {
        kind: "staged",
        generation,
        step: Number(step),
        trigger: trigger === "final" ? "final" : "periodic",
      };
    }
    case "prepared": {
      const { key, prepared } = body.value;
      if (key === undefined || prepared === undefined) return null;
      const { writer, incarnation, manifestPath, manifestSha256, bytes } = prepared;
      return {
        kind: "wrote",
        key: keyOf(key),
        prepared: { writer, incarnation, manifestPath, manifestSha256, bytes: Number(bytes) },
      };
    }
    case "saveFailed": {
      const { key, writer, code, message } = body.value;
      if (key === undefined) return null;
      return { kind: "saveFailed", key: keyOf(key), writer, reason: { code, sentence: message } };
    }
    case "finished":
      return { kind: "finished", generation, step: Number(body.value.step) };
    case "snapshotsHeld":
      return {
        kind: "snapshots",
        snapshots: body.value.snapshots.map((held) => ({
          generation: Number(held.generation),
          step: Number(held.step),
          blocks: held.blocks.map(({ firstBlock, blocksCount }) => ({
            firstBlock,
            blocks: blocksCount,
          })),
          bytes: Number(held.bytes),
        })),
      };
    case "leaving":
      return { kind: "leaving", why: body.value.why };
    default:
      return null;
  }
}

function factsOf(
  loaded: Extract<NonNullable<SessionRequest["body"]>, { $case: "loaded" }>["value"],
): JobFacts {
  const { layout, data, recipeSha256, externalJson, loraJson, templateJson } = loaded;
  return {
    layout: layoutFromWire(layout ?? { tensors: [], elementsCount: 0n, fingerprint: "" }),
    dataDigest: data?.digest ?? "",
    recipeSha256,
    totalSteps: Number(data?.totalSteps ?? 0n),
    stepsPerEpoch: Number(data?.stepsPerEpoch ?? 0n),
    rows: Number(data?.rowsCount ?? 0n),
    trainedTokens: Number(data?.trainedTokensCount ?? 0n),
    externalJson,
    loraJson,
    templateJson,
  };
}

export function holdingOf(rank: RankHolding): Holding {
  return {
    generation: Number(rank.generation),
    rank: rank.rank,
    version: Number(rank.version),
    pending: rank.pending,
  };
}

export function keyOf(key: SaveKey): SaveKeyState {
  const { run, step, generation, saveId } = key;
  return { run, step: Number(step), generation: Number(generation), try: key.try, saveId };
}

export function keyToWire(key: SaveKeyState): SaveKey {
  const { run, step, generation, saveId } = key;
  return { run, step: BigInt(step), generation: BigInt(generation), try: key.try, saveId };
}

/** The lanes of one rank's report as rows of the journal. */
export function laneRowsOf(report: StepReport): LaneRow[] {
  return report.lanes.map((lane) => ({
    step: Number(report.step),
    lane: lane.lane,
    lossSum: lane.lossSum,
    exampleIds: lane.exampleIds.map(Number),
    trainedTokens: Number(lane.trainedTokensCount),
    processedTokens: Number(lane.processedTokensCount),
  }));
}

/** What one rank's report says of its time and memory. */
export function rankStepOf(report: StepReport): RankStep {
  const { sections } = report;
  return {
    seconds: secondsOf(report.seconds),
    stallSeconds: secondsOf(report.stallSeconds),
    sections: {
      data: secondsOf(sections?.data),
      forward_backward: secondsOf(sections?.forwardBackward),
      reduce: secondsOf(sections?.reduce),
      optimizer: secondsOf(sections?.optimizer),
      gather: secondsOf(sections?.gather),
      other: secondsOf(sections?.other),
    },
    peakBytes: Number(report.rssBytes),
  };
}

/** A time as an agent measured it: what is none (NaN, infinite, negative) counts as 0, so that it spoils no sum for good. */
function secondsOf(told: number | undefined): number {
  return told !== undefined && Number.isFinite(told) && told > 0 ? told : 0;
}

export interface DirectiveContext {
  readonly record: JobRecord;
  /** The stored spec with model.source as the trainer can open it. */
  readonly specJson: string;
  readonly member: string;
  readonly workDirectory: string;
}

export function directiveToWire(directive: Directive, context: DirectiveContext): SessionResponse {
  const { record } = context;
  const live = liveOf(record.state);
  switch (directive.kind) {
    case "load": {
      const plan = live?.plan ?? record.state.submittedPlan;
      const slot = live?.members.find(({ name }) => name === context.member)?.slot ?? 0;
      const value = {
        jobName: record.name,
        specJson: context.specJson,
        plan: planToWire(plan),
        workDirectory: context.workDirectory,
        ranksCount: plan.ranksPerMember,
        slot,
      };
      return { generation: 0n, body: { $case: "load", value } };
    }
    case "prepare": {
      const { plan } = directive;
      const value = prepareToWire(plan, context);
      return { generation: BigInt(plan.number), body: { $case: "prepare", value } };
    }
    case "commit":
      return {
        generation: BigInt(directive.generation),
        body: { $case: "commit", value: { step: BigInt(directive.step) } },
      };
    case "discard":
      return { generation: BigInt(directive.generation), body: { $case: "discard", value: {} } };
    case "persist": {
      const { key, directory, schemaSha256, schemaJson, crcBlockBytes } = directive.begun;
      const value = { key: keyToWire(key), directory, schemaSha256, schemaJson, crcBlockBytes };
      return { generation: BigInt(key.generation), body: { $case: "persist", value } };
    }
    case "decided": {
      const { step, generation, key, status } = directive.save;
      const named = key ?? { run: record.uid, step, generation, try: 0, saveId: "" };
      const value = { key: keyToWire(named), status };
      return { generation: BigInt(generation), body: { $case: "saveDecided", value } };
    }
    case "stop":
      return { generation: 0n, body: { $case: "stop", value: { why: directive.why } } };
    default:
      return directive satisfies never;
  }
}

// A dead peer is noticed long before, by its reset. Twice what a hang takes to be noticed (core/liveness.ts): the
// rank that hangs is to be named before its peers give up waiting.
const COLLECTIVE_TIMEOUT_SECONDS_MIN = 60;
const COLLECTIVE_TIMEOUT_STEPS = 10;

function prepareToWire(plan: PreparedGeneration, { record }: DirectiveContext): PrepareGeneration {
  const live = liveOf(record.state);
  const parallel = live?.plan ?? record.state.submittedPlan;
  const seconds = live?.progress?.seconds ?? parallel.stepSecondsPredicted;
  return {
    members: membersToWire(plan),
    worldSize: plan.seats.length,
    leaversCount: plan.leavers.length,
    blockMap: blockMapToWire(plan.blockMap),
    lanes: lanesToWire(plan.lanes),
    source: sourceToWire(plan),
    storeHost: live?.store?.host ?? "",
    storePort: live?.store?.port ?? 0,
    storePrefix: plan.storePrefix,
    saveEveryStepsCount: parallel.saveEverySteps,
    totalSteps: BigInt(live?.facts?.totalSteps ?? 0),
    recordedStep: BigInt(live?.step ?? 0),
    snapshotEveryStepsCount: parallel.snapshotEverySteps,
    snapshotMap: blockMapToWire(snapshotMapOf(plan)),
    collectiveTimeoutSeconds: Math.max(
      COLLECTIVE_TIMEOUT_SECONDS_MIN,
      COLLECTIVE_TIMEOUT_STEPS * seconds,
    ),
  };
}

function membersToWire(plan: PreparedGeneration): GenerationMember[] {
  const seats = partakers(plan);
  return [...new Set(seats.map(({ member }) => member))].map((member) => {
    const own = seats.filter((seat) => seat.member === member);
    return {
      member,
      slot: own[0]?.slot ?? 0,
      firstRank: own[0]?.rank ?? 0,
      ranksCount: own.length,
      localRanks: own.map(({ localRank }) => localRank),
    };
  });
}

function sourceToWire({ source }: PreparedGeneration): StateSource {
  switch (source.kind) {
    case "fresh":
      return { source: { $case: "fresh", value: {} } };
    case "live": {
      const value = {
        targetVersion: BigInt(source.targetVersion),
        transfer: transferToWire(source.transfer),
      };
      return { source: { $case: "live", value } };
    }
    case "snapshot": {
      const { generation, step, transfer } = source;
      const value = {
        generation: BigInt(generation),
        step: BigInt(step),
        transfer: transferToWire(transfer),
      };
      return { source: { $case: "snapshot", value } };
    }
    case "checkpoint": {
      const value = {
        runDirectory: source.directory,
        commit: source.commit,
        step: BigInt(source.step),
      };
      return { source: { $case: "checkpoint", value } };
    }
    default:
      return source satisfies never;
  }
}
