/** What members say ↔ the core's plain data. Nothing is decided here. */

import { layoutFromWire } from "@shardwright/planner";
import type { RankHolding, SaveKey, SessionRequest, StepReport } from "@shardwright/proto";
import type { MemberEvent } from "../core/events.ts";
import type { LaneTime } from "../core/relief.ts";
import type { Holding, JobFacts, SaveKeyState } from "../core/state.ts";
import type { RankStep } from "../core/step-measure.ts";
import type { LaneRow } from "../ports.ts";

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
      return saveEventOf(body, generation);
  }
}

/** What a message about a save means to the job. */
function saveEventOf(body: SessionRequest["body"], generation: number): MemberSaid | null {
  switch (body?.$case) {
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

/** What one rank's report says of how fast it computes; null where it had no lanes. */
export function laneTimeOf(report: StepReport, generation: number): LaneTime | null {
  const { rank, lanes, sections } = report;
  if (lanes.length === 0) return null;
  const seconds = secondsOf(sections?.forwardBackward);
  return { generation, rank, step: Number(report.step), secondsPerLane: seconds / lanes.length };
}

/** A time as an agent measured it: what is none (NaN, infinite, negative) counts as 0, so that it spoils no sum for good. */
function secondsOf(told: number | undefined): number {
  return told !== undefined && Number.isFinite(told) && told > 0 ? told : 0;
}
