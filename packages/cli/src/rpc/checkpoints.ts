import type { CheckpointSummary } from "@shardwright/proto/gen/shardwright/v1/checkpoint";
import {
  CheckpointServiceClient,
  type ExportCheckpointRequest,
  type ExportCheckpointResponse,
  type VerifyCheckpointResponse,
} from "@shardwright/proto/gen/shardwright/v1/checkpoint_service";
import { connect } from "@shardwright/service/rpc-client";
import { findTarget } from "../context.ts";
import type { Invocation } from "../invocation.ts";

/** CheckpointService as verbs use it; `run` is the uid of a job. */
export interface Checkpoints {
  /** Empty run: of every job. */
  list(run: string): Promise<readonly CheckpointSummary[]>;
  verify(run: string, commit: string, level: string): Promise<VerifyCheckpointResponse>;
  export(request: ExportCheckpointRequest): AsyncIterable<ExportCheckpointResponse>;
  close(): void;
}

// Reads every byte of a checkpoint: minutes for tens of GB.
const VERIFY_DEADLINE_MS = 3_600_000;

/** Opens CheckpointService of the control plane that the settings name. Nothing is sent yet. */
export function openCheckpoints(call: Invocation): Checkpoints {
  const { tenant, requestTimeoutMs: deadlineMs } = call.settings;
  const target = findTarget(call.settings, call.io);
  const connection = connect(CheckpointServiceClient, target.checkpointAddress, target.token);
  return {
    list: async (run) => {
      const answer = await connection.call(
        (client) => client.listCheckpoints,
        { tenant, run },
        { deadlineMs },
      );
      return answer.checkpoints;
    },
    verify: (run, commit, level) =>
      connection.call(
        (client) => client.verifyCheckpoint,
        { run, commit, level },
        { deadlineMs: VERIFY_DEADLINE_MS },
      ),
    export: (request) => connection.stream((client) => client.exportCheckpoint, request),
    close: () => connection.close(),
  };
}

/** Runs `work` with an open CheckpointService and closes it whatever happens. */
export async function withCheckpoints<T>(
  call: Invocation,
  work: (checkpoints: Checkpoints) => Promise<T>,
): Promise<T> {
  const checkpoints = openCheckpoints(call);
  try {
    return await work(checkpoints);
  } finally {
    checkpoints.close();
  }
}
