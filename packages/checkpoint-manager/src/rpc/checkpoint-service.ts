import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { type Complaint, Fault, type Reason } from "@shardwright/job/faults";
import type {
  AbortSaveRequest,
  AbortSaveResponse,
  BeginSaveRequest,
  BeginSaveResponse,
  CheckpointSummary,
  ChooseHeadRequest,
  ChooseHeadResponse,
  DeleteRunRequest,
  DeleteRunResponse,
  ExportCheckpointRequest,
  ExportCheckpointResponse,
  HashCheckpointRequest,
  HashCheckpointResponse,
  ListCheckpointsRequest,
  ListCheckpointsResponse,
  ReportPreparedRequest,
  ReportPreparedResponse,
  SaveKey,
  VerifyCheckpointRequest,
  VerifyCheckpointResponse,
} from "@shardwright/proto";
import { type Caller, type Log, serverStream, unary } from "@shardwright/service";
import { isRunName } from "../core/begin-save.ts";
import { commitKey, parseCommitKey } from "../core/commit-key.ts";
import type { CommitRecord } from "../core/commit-record.ts";
import { EXPORT_DTYPES, EXPORT_FORMATS } from "../core/export-plan.ts";
import { type Candidate, chooseHead as newestValid, sortNewestFirst } from "../core/head.ts";
import { RECORD_BYTES_MAX, unseal } from "../core/sealed.ts";
import { Damage } from "../damage.ts";
import { exportCommit } from "../exports.ts";
import { hashCommit } from "../hash.ts";
import type { CheckpointStore } from "../ports.ts";
import { openCommit } from "../reader.ts";
import { scanRun } from "../run-scan.ts";
import type { Answer, SaveDesk, SaveRef } from "../saves.ts";
import { sha256 } from "../sha256.ts";
import { readText, withinRun } from "../stored-file.ts";
import { VERIFY_LEVELS, verifyCommit } from "../verify.ts";
import { beginRequestOf, exact } from "./begin-request.ts";

export interface CheckpointServiceWorld {
  readonly desk: SaveDesk;
  readonly store: CheckpointStore;
  /** Absolute folder of the store. */
  readonly root: string;
  readonly python: string;
  readonly pythonPath: string;
  readonly log: Log;
  readonly drain: AbortSignal;
}

/** CheckpointService: checks what came, hands it on, says what became of it. Every method may be repeated. */
export function checkpointService(world: CheckpointServiceWorld): UntypedServiceImplementation {
  return {
    beginSave: unary((request: BeginSaveRequest) => beginSave(world, request)),
    reportPrepared: unary((request: ReportPreparedRequest) => reportPrepared(world, request)),
    abortSave: unary((request: AbortSaveRequest) => abortSave(world, request)),
    chooseHead: unary((request: ChooseHeadRequest) => chooseHead(world, request)),
    listCheckpoints: unary((request: ListCheckpointsRequest) => listCheckpoints(world, request)),
    verifyCheckpoint: unary((request: VerifyCheckpointRequest) => verifyCheckpoint(world, request)),
    hashCheckpoint: unary((request: HashCheckpointRequest) => hashCheckpoint(world, request)),
    exportCheckpoint: serverStream(world.drain, (request: ExportCheckpointRequest, caller) =>
      exportCheckpoint(world, request, caller),
    ),
    deleteRun: unary((request: DeleteRunRequest) => deleteRun(world, request)),
  };
}

async function beginSave(
  world: CheckpointServiceWorld,
  message: BeginSaveRequest,
): Promise<BeginSaveResponse> {
  const request = beginRequestOf(message);
  const begun = await world.desk.begin(request);
  const { marker, folder } = begun;
  return {
    key: {
      run: marker.run,
      step: BigInt(marker.step),
      generation: BigInt(marker.generation),
      try: marker.try,
      saveId: marker.save_id,
    },
    directory: pathToFileURL(join(world.root, marker.run, folder)).href,
    schemaSha256: marker.plan.schema.sha256,
    schemaJson: begun.schemaText,
    crcBlockBytes: begun.crcBlockBytes,
    commit: begun.decided?.status === "committed" ? commitKey(marker) : "",
  };
}

async function reportPrepared(
  world: CheckpointServiceWorld,
  { key, prepared }: ReportPreparedRequest,
): Promise<ReportPreparedResponse> {
  const ref = saveRefOf(key);
  if (prepared === undefined) throw invalid("prepared", "is missing");
  if (!/^w\d{5,}\.\d{3,}\.json$/.test(prepared.manifestPath)) {
    throw invalid(
      "prepared.manifest_path",
      `"${prepared.manifestPath}" is not the name of a manifest`,
    );
  }
  const answer = await world.desk.prepared(ref, {
    ...prepared,
    bytes: exact("prepared.bytes", prepared.bytes),
  });
  const reason = reasonOf(answer);
  return {
    status: answer.status,
    commit: answer.status === "committed" ? commitKey(ref.save) : "",
    reasonCode: reason?.code ?? "",
    reasonSentence: reason?.sentence ?? "",
    bytes: answer.status === "committed" ? BigInt(answer.bytes) : 0n,
  };
}

async function abortSave(
  world: CheckpointServiceWorld,
  { key, reason, detail }: AbortSaveRequest,
): Promise<AbortSaveResponse> {
  const code = reason === "" ? "aborted" : reason;
  const ref = saveRefOf(key);
  const { status } = await world.desk.abort(ref, { code, sentence: detail });
  return { status, commit: status === "committed" ? commitKey(ref.save) : "" };
}

async function chooseHead(
  world: CheckpointServiceWorld,
  { run }: ChooseHeadRequest,
): Promise<ChooseHeadResponse> {
  const { head, passedOver } = await world.desk.head(runOf(run));
  return {
    head: head === null ? undefined : summaryOf(world, head),
    passedOver: passedOver.map(({ reason }) => reason.sentence),
  };
}

async function listCheckpoints(
  world: CheckpointServiceWorld,
  { tenant, run }: ListCheckpointsRequest,
): Promise<ListCheckpointsResponse> {
  const runs = run === "" ? (await world.store.list("")).filter(isRunName) : [runOf(run)];
  const checkpoints: CheckpointSummary[] = [];
  for (const name of runs) {
    if (tenant !== "" && tenant !== (await tenantOf(world, name))) continue;
    const { candidates } = await scanRun(withinRun(world.store, name));
    for (const candidate of sortNewestFirst(candidates))
      checkpoints.push(listedOf(world, name, candidate));
  }
  return { checkpoints };
}

async function tenantOf(world: CheckpointServiceWorld, run: string): Promise<string> {
  try {
    const text = await readText(withinRun(world.store, run), "run.json", RECORD_BYTES_MAX);
    const unsealed = unseal("run.json", text, sha256);
    return unsealed.ok ? String(unsealed.value["tenant"] ?? "") : "";
  } catch (reason) {
    if (reason instanceof Damage) return "";
    throw reason;
  }
}

async function verifyCheckpoint(
  world: CheckpointServiceWorld,
  { run, commit, level }: VerifyCheckpointRequest,
): Promise<VerifyCheckpointResponse> {
  const known = VERIFY_LEVELS.find((one) => one === level);
  if (known === undefined)
    throw invalid("level", `"${level}" is none of ${VERIFY_LEVELS.join(", ")}`);
  const store = withinRun(world.store, runOf(run));
  const verdict = await verifyCommit(store, keyOf(commit), known);
  return {
    problems: verdict.problems.map(({ code, sentence }) => ({ code, message: sentence })),
    bytesRead: BigInt(verdict.bytesRead),
  };
}

async function hashCheckpoint(
  world: CheckpointServiceWorld,
  { run, commit }: HashCheckpointRequest,
): Promise<HashCheckpointResponse> {
  const store = withinRun(world.store, runOf(run));
  return await undamaged(async () => await hashCommit(await openCommit(store, keyOf(commit))));
}

async function* exportCheckpoint(
  world: CheckpointServiceWorld,
  request: ExportCheckpointRequest,
  caller: Caller,
): AsyncGenerator<ExportCheckpointResponse, void, void> {
  const run = runOf(request.run);
  const format = EXPORT_FORMATS.find((one) => one === request.format);
  if (format === undefined)
    throw invalid("format", `"${request.format}" is none of ${EXPORT_FORMATS.join(", ")}`);
  const dtype = EXPORT_DTYPES.find((one) => one === (request.dtype || "stored"));
  if (dtype === undefined)
    throw invalid("dtype", `"${request.dtype}" is none of ${EXPORT_DTYPES.join(", ")}`);
  const commit = request.commit === "" ? await headKey(world, run) : keyOf(request.commit);
  const events = exportCommit({
    open: await undamaged(() => openCommit(withinRun(world.store, run), commit)),
    commit,
    runDirectory: join(world.root, run),
    outputDirectory: request.outputDirectory,
    request: { format, merge: request.merge, dtype },
    python: world.python,
    pythonPath: world.pythonPath,
    signal: caller.signal,
  });
  for await (const event of events) {
    yield {
      kind: event.kind,
      bytesDone: BigInt(event.kind === "done" ? event.bytesTotal : event.bytesDone),
      bytesTotal: BigInt(event.bytesTotal),
      location: event.kind === "done" ? event.location : "",
    };
  }
}

async function deleteRun(
  world: CheckpointServiceWorld,
  { run }: DeleteRunRequest,
): Promise<DeleteRunResponse> {
  await world.desk.deleteRun(runOf(run));
  return {};
}

/** Without deciding anything: an export never ends a save in flight. */
async function headKey(world: CheckpointServiceWorld, run: string): Promise<string> {
  const { candidates, undecided } = await scanRun(withinRun(world.store, run));
  const { head } = newestValid(candidates);
  if (head !== null) return commitKey(head);
  const count = (status: string): number =>
    candidates.filter(({ register }) => register.ok && register.value.status === status).length;
  const sentence = `no committed checkpoint in ${run}: ${undecided.length} undecided, ${count("aborted")} aborted`;
  throw new Fault("not_found", `SWC_NO_CHECKPOINT: ${sentence}`);
}

function summaryOf(world: CheckpointServiceWorld, record: CommitRecord): CheckpointSummary {
  return {
    run: record.run,
    commit: commitKey(record),
    step: BigInt(record.step),
    generation: BigInt(record.generation),
    trigger: record.trigger,
    createdTime: new Date(record.created),
    bytes: BigInt(record.writers.reduce((sum, writer) => sum + writer.bytes, 0)),
    worldSize: record.world.size,
    merkle: record.merkle,
    stateDigest: record.state_digest ?? "",
    status: "committed",
    // The run's folder: with `commit` it is all that a reader needs.
    path: pathToFileURL(join(world.root, record.run)).href,
  };
}

/** A register as a line of a listing, whatever state it is in. */
function listedOf(
  world: CheckpointServiceWorld,
  run: string,
  candidate: Candidate,
): CheckpointSummary {
  const { key, register, retired, quarantined } = candidate;
  if (register.ok && register.value.status === "committed") {
    const status = retired ? "retired" : quarantined !== null ? "quarantined" : "committed";
    return { ...summaryOf(world, register.value), status };
  }
  const name = parseCommitKey(key);
  return {
    run,
    commit: key,
    step: BigInt(name?.step ?? 0),
    generation: BigInt(name?.generation ?? 0),
    trigger: "",
    createdTime: register.ok ? new Date(register.value.created) : undefined,
    bytes: 0n,
    worldSize: 0,
    merkle: "",
    stateDigest: "",
    status: register.ok ? "aborted" : "quarantined",
    path: pathToFileURL(join(world.root, run)).href,
  };
}

function saveRefOf(key: SaveKey | undefined): SaveRef {
  if (key === undefined) throw invalid("key", "is missing");
  const save = {
    step: exact("key.step", key.step),
    generation: exact("key.generation", key.generation),
    try: key.try,
  };
  if (!/^[0-9a-f-]{36}$/.test(key.saveId))
    throw invalid("key.save_id", `"${key.saveId}" is not a UUID`);
  return { run: runOf(key.run), save, saveId: key.saveId };
}

function runOf(run: string): string {
  if (!isRunName(run)) throw invalid("run", `"${run}" is not a ULID`);
  return run;
}

function keyOf(commit: string): string {
  if (parseCommitKey(commit) === null) throw invalid("commit", `"${commit}" is not a commit key`);
  return commit;
}

function invalid(path: string, problem: string): Fault {
  const complaints: Complaint[] = [{ path, problem }];
  return new Fault("invalid", `${path}: ${problem}`, { complaints });
}

function reasonOf(answer: Answer): Reason | null {
  return answer.status === "aborted" ? answer.reason : null;
}

/** A damaged checkpoint is the caller's to know, not our bug. */
async function undamaged<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (reason) {
    if (reason instanceof Damage) {
      const kind = reason.problem.code === "SWC_MISSING_FILE" ? "not_found" : "conflict";
      throw new Fault(kind, reason.message, { cause: reason });
    }
    throw reason;
  }
}
