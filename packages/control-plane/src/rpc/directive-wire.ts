/** What members are told, as AgentService messages. Nothing is decided here. */

import { blockMapToWire, lanesToWire, planToWire, transferToWire } from "@shardwright/planner";
import type {
  GenerationMember,
  PrepareGeneration,
  SessionResponse,
  StateSource,
} from "@shardwright/proto";
import type { Directive } from "../core/directives.ts";
import { partakers } from "../core/prepared.ts";
import { snapshotMapOf } from "../core/snapshots.ts";
import { liveOf, type PreparedGeneration } from "../core/state.ts";
import type { JobRecord } from "../ports.ts";
import { keyToWire } from "./agent-wire.ts";

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
