import type { Complaint } from "@shardwright/job/faults";
import { canonicalJson, isObject, type Json, type JsonObject } from "./canonical-json.ts";
import type { SavePlan } from "./save-marker.ts";
import { type LayoutTensor, schemaText } from "./schema.ts";
import type { Sha256 } from "./sealed.ts";

/** A run of blocks with the same holders; holders[0] owns and writes. */
export interface OwnedRun {
  readonly firstBlock: number;
  readonly blocks: number;
  readonly holders: readonly number[];
}

/** What the control plane says of a save that is to begin. */
export interface BeginRequest {
  readonly tenant: string;
  readonly run: string;
  readonly jobName: string;
  readonly step: number;
  readonly generation: number;
  readonly trigger: SavePlan["trigger"];
  readonly tensors: readonly LayoutTensor[];
  readonly elements: number;
  readonly blockElements: number;
  readonly blocks: number;
  readonly runs: readonly OwnedRun[];
  readonly worldSize: number;
  readonly zeroStage: number;
  readonly facts: JsonObject;
  readonly keepLast: number;
}

/** CRC blocks: small ones where the state is small, so that a reshard reads little more than it needs. */
const CRC_BLOCK_SMALL = 65_536;
const CRC_BLOCK_LARGE = 262_144;
const LARGE_WRITER_BYTES = 1024 ** 3;
/** master, exp_avg and exp_avg_sq, fp32 each. */
const STATE_BYTES_PER_ELEMENT = 12;
/** A ULID: 26 letters of Crockford's alphabet. */
const RUN = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

/** True for the name of a run; anything else could leave the folder of checkpoints. */
export function isRunName(text: string): boolean {
  return RUN.test(text);
}

/** Everything that is wrong with the request, by field. */
export function checkBegin(request: BeginRequest): readonly Complaint[] {
  const complaints: Complaint[] = [];
  const complain = (path: string, problem: string): void => void complaints.push({ path, problem });
  if (!isRunName(request.run)) complain("run", `"${request.run}" is not a ULID`);
  if (request.jobName === "") complain("job_name", "is empty");
  if (request.worldSize < 1) complain("world_size", "must be at least 1");
  checkLayout(request, complain);
  checkMap(request, complain);
  return complaints;
}

type Complain = (path: string, problem: string) => void;

function checkLayout(request: BeginRequest, complain: Complain): void {
  let at = 0;
  for (const [index, tensor] of request.tensors.entries()) {
    const size = tensor.shape.reduce((product, dimension) => product * dimension, 1);
    if (tensor.begin !== at || tensor.end !== at + size) {
      const has = `[${tensor.begin}, ${tensor.end})`;
      complain(
        `layout.tensors[${index}]`,
        `${tensor.fqn} is elements ${has}, expected [${at}, ${at + size})`,
      );
      return;
    }
    at = tensor.end;
  }
  if (at !== request.elements || at === 0) {
    complain("layout.elements_count", `is ${request.elements}, the tensors have ${at}`);
  }
  const names = new Set(request.tensors.map((tensor) => tensor.fqn));
  if (names.size !== request.tensors.length) complain("layout.tensors", "a name stands twice");
}

function checkMap(request: BeginRequest, complain: Complain): void {
  const { blockElements, blocks, elements } = request;
  const isPower = Number.isInteger(Math.log2(blockElements));
  if (!isPower)
    complain("block_map.block_elements_count", `${blockElements} is not a power of two`);
  if (blocks !== Math.ceil(elements / blockElements)) {
    complain(
      "block_map.blocks_count",
      `is ${blocks} for ${elements} elements of ${blockElements} each`,
    );
  }
  let at = 0;
  for (const [index, run] of request.runs.entries()) {
    const path = `block_map.runs[${index}]`;
    if (run.firstBlock !== at) complain(path, `starts at block ${run.firstBlock}, expected ${at}`);
    if (run.holders.length === 0) complain(path, "has no holder");
    if (run.holders.some((rank) => rank >= request.worldSize)) {
      complain(path, `names a rank outside the world of ${request.worldSize}`);
    }
    at = run.firstBlock + run.blocks;
  }
  if (at !== blocks) complain("block_map.runs", `end at block ${at}, expected ${blocks}`);
}

/** What the start marker keeps of a checked request, with the schema it refers to. */
export function savePlanOf(
  request: BeginRequest,
  sha256: Sha256,
): { readonly plan: SavePlan; readonly schemaText: string } {
  const text = schemaText(request.tensors, request.blockElements);
  const schemaSha256 = sha256(text);
  const size = request.worldSize;
  const map: Json = {
    elements: request.elements,
    block_elements: request.blockElements,
    runs: request.runs.map((run) => [run.firstBlock, run.blocks, [...run.holders]]),
  };
  const plan: SavePlan = {
    job: request.jobName,
    trigger: request.trigger,
    schema: {
      path: `schema/${schemaSha256.slice("sha256:".length)}.json`,
      sha256: schemaSha256,
      tensors: request.tensors.length,
    },
    world: { size, dp: size, tp: 1, pp: 1, zero: request.zeroStage },
    layout: {
      type: "blocks",
      block_map_sha256: sha256(canonicalJson(map)),
      runs: ownerRuns(request.runs),
    },
    writers: [...new Set(request.runs.map(ownerOf))].sort((one, other) => one - other),
    keep_last: request.keepLast,
    facts: request.facts as SavePlan["facts"],
  };
  return { plan, schemaText: text };
}

/** CRC block of every writer of a save, from the largest writer's share. */
export function crcBlockBytes(plan: SavePlan, blockElements: number): number {
  const blocksOf = new Map<number, number>();
  for (const [writer, , blocks] of plan.layout.runs) {
    blocksOf.set(writer, (blocksOf.get(writer) ?? 0) + blocks);
  }
  const most = Math.max(0, ...blocksOf.values()) * blockElements * STATE_BYTES_PER_ELEMENT;
  return most < LARGE_WRITER_BYTES ? CRC_BLOCK_SMALL : CRC_BLOCK_LARGE;
}

/** The facts as an object, or why they are none; they go into the record as they are. */
export function parseFacts(text: string): JsonObject | { readonly why: string } {
  try {
    const value = JSON.parse(text === "" ? "{}" : text) as Json;
    if (!isObject(value)) return { why: "not a JSON object" };
    canonicalJson(value);
    return value;
  } catch (reason) {
    return { why: reason instanceof Error ? reason.message : String(reason) };
  }
}

function ownerOf(run: OwnedRun): number {
  return run.holders[0] ?? 0;
}

/** [writer, first block, count], neighbouring runs of one owner joined. */
function ownerRuns(runs: readonly OwnedRun[]): [number, number, number][] {
  const joined: [number, number, number][] = [];
  for (const run of runs) {
    const last = joined.at(-1);
    if (last !== undefined && last[0] === ownerOf(run)) last[2] += run.blocks;
    else joined.push([ownerOf(run), run.firstBlock, run.blocks]);
  }
  return joined;
}
