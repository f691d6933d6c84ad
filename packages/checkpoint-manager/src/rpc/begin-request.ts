import { SAVE_TRIGGERS } from "@shardwright/job/checkpoint";
import { type Complaint, Fault } from "@shardwright/job/faults";
import type { BeginSaveRequest } from "@shardwright/proto";
import { type BeginRequest, parseFacts } from "../core/begin-save.ts";
import type { JsonObject } from "../core/canonical-json.ts";
import type { SavePlan } from "../core/save-marker.ts";

/** The wire's message as the desk takes it; Fault `invalid` with every complaint. */
export function beginRequestOf(message: BeginSaveRequest): BeginRequest {
  const complaints: Complaint[] = [];
  const { blockMap, layout } = message;
  if (blockMap === undefined) complaints.push({ path: "block_map", problem: "is missing" });
  if (layout === undefined) complaints.push({ path: "layout", problem: "is missing" });
  const trigger = SAVE_TRIGGERS.find((known) => known === message.trigger);
  if (trigger === undefined) {
    const problem = `"${message.trigger}" is none of ${SAVE_TRIGGERS.join(", ")}`;
    complaints.push({ path: "trigger", problem });
  }
  const facts = parseFacts(message.factsJson);
  if (typeof facts["why"] === "string")
    complaints.push({ path: "facts_json", problem: facts["why"] });
  if (blockMap === undefined || layout === undefined || complaints.length > 0) {
    throw new Fault("invalid", "this save cannot begin", { complaints });
  }
  return {
    tenant: message.tenant,
    run: message.run,
    jobName: message.jobName,
    step: exact("step", message.step),
    generation: exact("generation", message.generation),
    trigger: trigger as SavePlan["trigger"],
    tensors: layout.tensors.map((tensor) => ({
      fqn: tensor.fqn,
      shape: tensor.shape.map((size) => exact("layout.tensors.shape", size)),
      begin: exact("layout.tensors.begin", tensor.begin),
      end: exact("layout.tensors.end", tensor.end),
    })),
    elements: exact("layout.elements_count", layout.elementsCount),
    blockElements: blockMap.blockElementsCount,
    blocks: blockMap.blocksCount,
    runs: blockMap.runs.map((run) => ({
      firstBlock: run.firstBlock,
      blocks: run.blocksCount,
      holders: run.holders,
    })),
    worldSize: message.worldSize,
    zeroStage: message.zeroStage,
    facts: facts as JsonObject,
    keepLast: message.keepLastCount,
  };
}

/** A 64-bit count of the wire as a number; larger ones cannot stand in JSON. */
export function exact(path: string, value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new Fault("invalid", `${path} is too large`, {
    complaints: [{ path, problem: `${value} is above 2^53 - 1` }],
  });
}
