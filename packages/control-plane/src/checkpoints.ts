import { fileURLToPath } from "node:url";
import { blockMapToWire, layoutToWire } from "@shardwright/planner";
import {
  type CheckpointServiceClient,
  CheckpointServiceClient as Client,
} from "@shardwright/proto";
import type { Connection } from "@shardwright/service/rpc-client";
import { connect } from "@shardwright/service/rpc-client";
import { type JobState, liveOf } from "./core/state.ts";
import type { Checkpoints } from "./ports.ts";
import { keyOf, keyToWire } from "./rpc/agent-wire.ts";

// Decisions are small; hashing reads the whole checkpoint.
const CALL_MS = 60_000;
const HASH_MS = 3_600_000;

export interface CheckpointsClient extends Checkpoints {
  close(): void;
}

/** The checkpoint-manager over the wire. */
export function connectCheckpoints(address: string, token: string): CheckpointsClient {
  const connection = connect<CheckpointServiceClient>(Client, address, token);
  const call: Connection<CheckpointServiceClient>["call"] = connection.call;
  return {
    begin: async ({ run, tenant, jobName, step, generation, trigger, state }) => {
      const { blockMap, layout, worldSize, zeroStage, factsJson, keepLastCount } = saveFacts(
        state,
        step,
      );
      const answer = await call(
        (client) => client.beginSave,
        {
          tenant,
          run,
          jobName,
          step: BigInt(step),
          generation: BigInt(generation),
          trigger,
          blockMap,
          layout,
          worldSize,
          zeroStage,
          factsJson,
          keepLastCount,
        },
        { deadlineMs: CALL_MS },
      );
      if (answer.key === undefined) throw new Error("BeginSave answered without a key");
      const { directory, schemaSha256, schemaJson, crcBlockBytes, commit } = answer;
      return {
        begun: { key: keyOf(answer.key), directory, schemaSha256, schemaJson, crcBlockBytes },
        commit: commit === "" ? null : commit,
      };
    },
    reportPrepared: async (key, prepared) => {
      const answer = await call(
        (client) => client.reportPrepared,
        { key: keyToWire(key), prepared: { ...prepared, bytes: BigInt(prepared.bytes) } },
        { deadlineMs: CALL_MS },
      );
      const status =
        answer.status === "committed" || answer.status === "aborted" ? answer.status : "waiting";
      return {
        status,
        commit: answer.commit,
        reason: { code: answer.reasonCode, sentence: answer.reasonSentence },
      };
    },
    abort: async (key, reason, detail) => {
      const answer = await call(
        (client) => client.abortSave,
        { key: keyToWire(key), reason, detail },
        { deadlineMs: CALL_MS },
      );
      return answer.status === "committed" ? answer.commit : null;
    },
    head: async (run) => {
      const { head } = await call((client) => client.chooseHead, { run }, { deadlineMs: CALL_MS });
      if (head === undefined) return null;
      return { commit: head.commit, step: Number(head.step), path: asPath(head.path) };
    },
    hash: async (run, commit) =>
      await call((client) => client.hashCheckpoint, { run, commit }, { deadlineMs: HASH_MS }),
    export: async ({ run, commit, format, merge, outputDirectory }) => {
      const request = { run, commit, format, merge, outputDirectory, dtype: "stored" };
      let location = "";
      for await (const said of connection.stream((client) => client.exportCheckpoint, request)) {
        if (said.kind === "done") location = said.location;
      }
      if (location === "") throw new Error("the export ended without a location");
      return location;
    },
    deleteRun: async (run) => {
      await call((client) => client.deleteRun, { run }, { deadlineMs: CALL_MS });
    },
    close: () => connection.close(),
  };
}

function asPath(location: string): string {
  return location.startsWith("file://") ? fileURLToPath(location) : location;
}

/** What a commit record says of the job (checkpoint format, section 8). */
function saveFacts(
  state: JobState,
  step: number,
): {
  blockMap: ReturnType<typeof blockMapToWire>;
  layout: ReturnType<typeof layoutToWire>;
  worldSize: number;
  zeroStage: number;
  factsJson: string;
  keepLastCount: number;
} {
  const live = liveOf(state);
  if (live?.committed == null || live.facts === null)
    throw new Error("a save without a generation");
  const { spec } = state;
  const { train } = spec;
  const { facts, plan, committed } = live;
  const { recipe } = plan;
  const group = {
    id: 0,
    lr: train.learningRate,
    betas: train.betas,
    eps: train.epsilon,
    weight_decay: train.weightDecay,
  };
  const said = {
    optimizer: { class: "adamw", step, groups: [group], stateless_params: [] },
    external: JSON.parse(facts.externalJson || "[]") as unknown,
    lora: facts.loraJson === "" ? null : (JSON.parse(facts.loraJson) as unknown),
    template: facts.templateJson === "" ? null : (JSON.parse(facts.templateJson) as unknown),
    train: {
      lr_scheduler: { type: train.schedule, total: facts.totalSteps },
      scaler: null,
      tokens: live.progress?.trainedTokens ?? 0,
      data: {
        dataset_sha256: facts.dataDigest,
        seed: train.seed,
        permutation: "philox4x32-v1",
        lanes_per_step: recipe.lanes,
        micro_batches_per_lane: recipe.microBatchesPerLane,
        sequences_per_micro_batch: recipe.microBatchRows,
        next_step: step,
        next_lane: step * recipe.lanes,
        epoch: facts.stepsPerEpoch > 0 ? Math.floor(step / facts.stepsPerEpoch) : 0,
      },
    },
    rng: { policy: "counter-v1", seed: train.seed },
    env: { recipe_sha256: facts.recipeSha256, device_type: recipe.deviceType },
  };
  return {
    blockMap: blockMapToWire(committed.blockMap),
    layout: layoutToWire(facts.layout),
    worldSize: committed.seats.length,
    zeroStage: plan.zeroStage,
    factsJson: JSON.stringify(said),
    keepLastCount: spec.checkpoint.keepLast,
  };
}
