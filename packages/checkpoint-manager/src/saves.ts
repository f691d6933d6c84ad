import { randomUUID } from "node:crypto";
import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { Fault, type Reason } from "@shardwright/job/faults";
import type { Log } from "@shardwright/service";
import { type BeginRequest, checkBegin, crcBlockBytes, savePlanOf } from "./core/begin-save.ts";
import type { JsonObject } from "./core/canonical-json.ts";
import {
  commitKey,
  dataFolder,
  parseCommitKey,
  type SaveName,
  TRY_MAX,
} from "./core/commit-key.ts";
import { chooseHead, type HeadChoice } from "./core/head.ts";
import { KEEP_LAST_DEFAULT } from "./core/retention.ts";
import {
  decideSave,
  type Outcome,
  openSave,
  type Prepared,
  type SaveEvent,
  type SaveState,
} from "./core/save.ts";
import { markerText, type SaveMarker, type SavePlan } from "./core/save-marker.ts";
import { seal } from "./core/sealed.ts";
import { abortSave, commitSave, type Decided } from "./decide.ts";
import type { CheckpointStore } from "./ports.ts";
import { probeStore } from "./probe.ts";
import { readRegister } from "./reader.ts";
import { type RunScan, readMarker, scanRun } from "./run-scan.ts";
import { type SerialQueue, serialQueue } from "./serial-queue.ts";
import { sha256 } from "./sha256.ts";
import { withinRun } from "./stored-file.ts";
import { sweepRun } from "./sweep.ts";
import { settleUndecided } from "./takeover.ts";

export interface SaveDeskOptions {
  /** Of the root: every run is a folder in it. */
  readonly store: CheckpointStore;
  readonly log: Log;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** A save that is not decided by then is aborted. */
  readonly saveDeadlineMs: number;
  readonly readerGraceMs: number;
}

/** A save and where its writers write. */
export interface Begun {
  readonly marker: SaveMarker;
  /** Relative to the run. */
  readonly folder: string;
  readonly schemaText: string;
  readonly crcBlockBytes: number;
  /** Set when this step of this generation was committed before: there is nothing to write. */
  readonly decided: Outcome | null;
}

export interface SaveRef {
  readonly run: string;
  readonly save: SaveName;
  readonly saveId: string;
}

/** What became of a report: still waiting for other writers, or the save's outcome. */
export type Answer = { readonly status: "waiting" } | Outcome;

/** Everything that decides saves of runs; calls for one run are taken one after the other. */
export interface SaveDesk {
  begin(request: BeginRequest): Promise<Begun>;
  prepared(ref: SaveRef, prepared: Prepared): Promise<Answer>;
  abort(ref: SaveRef, reason: Reason): Promise<Outcome>;
  /** Decides what is undecided, then chooses. */
  head(run: string): Promise<HeadChoice>;
  /** Aborts saves whose deadline has passed. */
  expire(): Promise<void>;
  /** Retires and removes everything of a run; absent is success. */
  deleteRun(run: string): Promise<void>;
}

/** A save that is open in this process. */
interface OpenSave {
  readonly run: string;
  readonly marker: SaveMarker;
  state: SaveState;
}

interface Desk extends SaveDeskOptions {
  /** By run and commit key. Only a cache: what is not here is read from the run's folder. */
  readonly open: Map<string, OpenSave>;
  readonly queue: SerialQueue;
  /** Digest of what the store has shown to keep; tried once, before the first save. */
  probed: Promise<string> | null;
}

/** The desk where saves of all runs begin and end. */
export function openSaveDesk(options: SaveDeskOptions): SaveDesk {
  const desk: Desk = { ...options, open: new Map(), queue: serialQueue(), probed: null };
  const serial = <T>(run: string, work: (store: CheckpointStore) => Promise<T>): Promise<T> =>
    desk.queue(run, () => work(withinRun(options.store, run)));
  return {
    begin: (request) => {
      const complaints = checkBegin(request);
      if (complaints.length > 0)
        throw new Fault("invalid", "this save cannot begin", { complaints });
      return serial(request.run, (store) => begin(desk, store, request));
    },
    prepared: (ref, prepared) =>
      serial(ref.run, (store) => takePrepared(desk, store, { ref, prepared })),
    abort: (ref, reason) => serial(ref.run, (store) => abort(desk, store, { ref, reason })),
    head: (run) =>
      serial(run, async (store) => {
        await settleAll(desk, store, { run, byGeneration: 0, except: null });
        return chooseHead((await scanRun(store)).candidates);
      }),
    expire: () => expire(desk),
    deleteRun: (run) =>
      serial(run, async () => {
        for (const [key, save] of desk.open) if (save.run === run) desk.open.delete(key);
        await options.store.remove(run);
      }),
  };
}

async function begin(desk: Desk, store: CheckpointStore, request: BeginRequest): Promise<Begun> {
  const { run, step, generation } = request;
  // 1. What the run is and what it has.
  await ensureRun(desk, store, request);
  const { plan, schemaText } = savePlanOf(request, sha256);
  const scan = await scanRun(store);
  // 2. The same save, said again.
  const again = sameSave(scan, request, plan);
  const keep = again !== null && again.status === "open" ? again.marker : null;
  // 3. Whatever else is undecided is decided before a save of this generation begins.
  await settleAll(desk, store, { run, byGeneration: generation, except: keep });
  if (again !== null) {
    const decided: Outcome | null =
      again.status === "committed" ? { status: "committed", bytes: again.bytes } : null;
    return begun(desk, {
      run,
      marker: again.marker,
      schemaText,
      blockElements: request.blockElements,
      decided,
    });
  }
  // 4. A new try: the schema, then the marker; from here on the save must be decided.
  const { head } = chooseHead((await scanRun(store)).candidates);
  const createdMs = desk.now();
  const marker: SaveMarker = {
    save_id: randomUUID(),
    run,
    step,
    generation,
    try: nextTry(scan, request),
    parents: head === null ? [] : [commitKey(head)],
    created: new Date(createdMs).toISOString(),
    deadline: new Date(createdMs + desk.saveDeadlineMs).toISOString(),
    plan,
  };
  await store.create(plan.schema.path, Buffer.from(schemaText));
  await store.create(`${folderOf(marker)}/save.json`, Buffer.from(markerText(marker, sha256)));
  return begun(desk, {
    run,
    marker,
    schemaText,
    blockElements: request.blockElements,
    decided: null,
  });
}

function begun(
  desk: Desk,
  save: {
    readonly run: string;
    readonly marker: SaveMarker;
    readonly schemaText: string;
    readonly blockElements: number;
    readonly decided: Outcome | null;
  },
): Begun {
  const { run, marker, schemaText, decided } = save;
  if (decided === null) remember(desk, run, marker);
  return {
    marker,
    folder: folderOf(marker),
    schemaText,
    crcBlockBytes: crcBlockBytes(marker.plan, save.blockElements),
    decided,
  };
}

type SameSave =
  | { readonly status: "open"; readonly marker: SaveMarker }
  | { readonly status: "committed"; readonly marker: SaveMarker; readonly bytes: number };

/** A save of this step and generation that is committed, or open with the very same plan. */
function sameSave(scan: RunScan, request: BeginRequest, plan: SavePlan): SameSave | null {
  const isSame = (save: { readonly step: number; readonly generation: number }): boolean =>
    save.step === request.step && save.generation === request.generation;
  for (const { register, retired } of scan.candidates) {
    if (retired || !register.ok || register.value.status !== "committed" || !isSame(register.value))
      continue;
    const { run, step, generation, save_id, parents, created, writers } = register.value;
    const marker = {
      run,
      step,
      generation,
      try: register.value.try,
      save_id,
      parents,
      created,
      deadline: created,
      plan,
    };
    return {
      status: "committed",
      marker,
      bytes: writers.reduce((sum, writer) => sum + writer.bytes, 0),
    };
  }
  for (const { marker } of scan.undecided) {
    if (!marker.ok || !isSame(marker.value)) continue;
    const other = marker.value.plan;
    const equal =
      other.schema.sha256 === plan.schema.sha256 &&
      other.layout.block_map_sha256 === plan.layout.block_map_sha256;
    if (equal) return { status: "open", marker: marker.value };
  }
  return null;
}

/** One above every try of this step and generation that was ever seen. */
function nextTry(scan: RunScan, { step, generation }: BeginRequest): number {
  const keys = [...scan.candidates, ...scan.folders]
    .map((one) => one.key)
    .concat(...scan.tombstones.keys());
  const tries = keys
    .map(parseCommitKey)
    .flatMap((save) => (save?.step === step && save.generation === generation ? [save.try] : []));
  const next = Math.max(-1, ...tries) + 1;
  if (next > TRY_MAX)
    throw new Fault(
      "exhausted",
      `step ${step} was tried ${next} times in generation ${generation}`,
    );
  return next;
}

async function takePrepared(
  desk: Desk,
  store: CheckpointStore,
  { ref, prepared }: { readonly ref: SaveRef; readonly prepared: Prepared },
): Promise<Answer> {
  const found = await findSave(desk, store, ref);
  if ("outcome" in found) return found.outcome;
  return await advance(desk, store, {
    open: found.open,
    event: { kind: "prepared", save: ref.save, saveId: ref.saveId, prepared },
  });
}

async function abort(
  desk: Desk,
  store: CheckpointStore,
  { ref, reason }: { readonly ref: SaveRef; readonly reason: Reason },
): Promise<Outcome> {
  const found = await findSave(desk, store, ref);
  if ("outcome" in found) return found.outcome;
  const event = { kind: "abort", save: ref.save, saveId: ref.saveId, reason } as const;
  const answer = await advance(desk, store, { open: found.open, event });
  if (answer.status === "waiting")
    throw new Error(`save ${commitKey(ref.save)} was not decided by its abort`);
  return answer;
}

/** Decide, act, decide on what came of it, until there is nothing to do. */
async function advance(
  desk: Desk,
  store: CheckpointStore,
  { open, event }: { readonly open: OpenSave; readonly event: SaveEvent },
): Promise<Answer> {
  let next: SaveEvent | null = event;
  while (next !== null) {
    const { state, effect, refused }: ReturnType<typeof decideSave> = decideSave(open.state, next);
    if (refused !== null) throw new Fault("conflict", `${refused.code}: ${refused.sentence}`);
    open.state = state;
    if (effect === null) break;
    next = await perform(desk, store, { open, effect });
  }
  if (open.state.phase !== "decided") return { status: "waiting" };
  desk.open.delete(openKey(open.run, open.marker));
  await afterDecision(desk, store, open);
  return open.state.outcome;
}

async function perform(
  desk: Desk,
  store: CheckpointStore,
  {
    open,
    effect,
  }: {
    readonly open: OpenSave;
    readonly effect: NonNullable<ReturnType<typeof decideSave>["effect"]>;
  },
): Promise<SaveEvent> {
  switch (effect.kind) {
    case "prove": {
      const result = await commitSave(store, open.marker, effect.prepared);
      if ("decided" in result)
        return { kind: "decided", outcome: outcomeOf(open.marker, result.decided) };
      return { kind: "refuted", reason: result.refuted };
    }
    case "writeAborted": {
      const { code, sentence } = effect.reason;
      const created = new Date(desk.now()).toISOString();
      const why = { reason: code, detail: sentence, byGeneration: open.marker.generation, created };
      return {
        kind: "decided",
        outcome: outcomeOf(open.marker, await abortSave(store, open.marker, why)),
      };
    }
    default:
      throw new Error(`unexpected effect ${JSON.stringify(effect satisfies never)}`);
  }
}

/** What a register means for a save: another save's commit under the same key is a loss for this one. */
function outcomeOf(marker: SaveMarker, decided: Decided): Outcome {
  if (!decided.ok) return { status: "aborted", reason: decided.problem };
  const register = decided.value;
  if (register.status === "aborted") {
    return { status: "aborted", reason: { code: register.reason, sentence: register.detail } };
  }
  if (register.save_id !== marker.save_id) {
    const sentence = `save ${commitKey(marker)}: register decided for ${register.save_id}; own data is garbage`;
    return { status: "aborted", reason: { code: "SWC_REGISTER_LOST", sentence } };
  }
  return {
    status: "committed",
    bytes: register.writers.reduce((sum, writer) => sum + writer.bytes, 0),
  };
}

/** The hint and the sweep: neither can undo the commit, so neither may fail it. */
async function afterDecision(desk: Desk, store: CheckpointStore, open: OpenSave): Promise<void> {
  const log = desk.log.child({ job: open.marker.plan.job, generation: open.marker.generation });
  const key = commitKey(open.marker);
  try {
    if (open.state.phase === "decided" && open.state.outcome.status === "committed") {
      log.info({ commit: key, bytes: open.state.outcome.bytes }, "checkpoint is committed");
      await store.replace(
        "tags/LATEST.json",
        Buffer.from(`{"commit":"${key}","swc":${SWC_VERSION}}`),
      );
    } else {
      log.warn({ commit: key, state: open.state }, "save is aborted");
    }
    const keepLast = open.marker.plan.keep_last || KEEP_LAST_DEFAULT;
    const { readerGraceMs } = desk;
    const swept = await sweepRun(store, { policy: { keepLast }, nowMs: desk.now(), readerGraceMs });
    if (swept.retired.length + swept.deleted.length > 0)
      log.info({ ...swept }, "old checkpoints are swept");
  } catch (reason) {
    log.error({ err: reason, commit: key }, "sweep after a save has failed");
  }
}

/** The save as this process knows it, or as its folder says, or what its register decided. */
async function findSave(
  desk: Desk,
  store: CheckpointStore,
  ref: SaveRef,
): Promise<{ readonly open: OpenSave } | { readonly outcome: Outcome }> {
  const known = desk.open.get(openKey(ref.run, ref.save));
  if (known !== undefined) return { open: known };
  const marker = await readMarker(store, dataFolder(ref.save, ref.saveId));
  const key = commitKey(ref.save);
  const register = await readRegister(store, key);
  if (register !== null) {
    const decided = { save_id: ref.saveId, ...ref.save } as SaveMarker;
    return { outcome: outcomeOf(decided, register) };
  }
  if (!marker.ok || (await store.size(`tombstones/${key}.json`)) !== null) {
    throw new Fault("not_found", `there is no save ${key} with id ${ref.saveId} in run ${ref.run}`);
  }
  return { open: remember(desk, ref.run, marker.value) };
}

function remember(desk: Desk, run: string, marker: SaveMarker): OpenSave {
  const key = openKey(run, marker);
  const known = desk.open.get(key);
  if (known?.marker.save_id === marker.save_id) return known;
  const open = {
    run,
    marker,
    state: openSave(nameOf(marker), marker.save_id, marker.plan.writers),
  };
  desk.open.set(key, open);
  return open;
}

async function settleAll(
  desk: Desk,
  store: CheckpointStore,
  order: {
    readonly run: string;
    readonly byGeneration: number;
    readonly except: SaveMarker | null;
  },
): Promise<void> {
  const { run, byGeneration } = order;
  for (const save of (await scanRun(store)).undecided) {
    if (save.saveId === order.except?.save_id) continue;
    const now = new Date(desk.now()).toISOString();
    const decided = await settleUndecided(store, save, { run, now, byGeneration });
    desk.open.delete(`${run}/${save.key}`);
    const status = decided.ok ? decided.value.status : decided.problem;
    desk.log.info({ run, commit: save.key, status }, "undecided save is decided");
  }
}

async function expire(desk: Desk): Promise<void> {
  for (const { run, marker, state } of [...desk.open.values()]) {
    if (desk.now() < Date.parse(marker.deadline)) continue;
    const missing =
      state.phase === "open" ? state.writers.filter((writer) => !state.prepared.has(writer)) : [];
    const sentence = `save ${commitKey(marker)}: writers ${missing.join()} not prepared after ${desk.saveDeadlineMs / 1000} s`;
    const ref = { run, save: nameOf(marker), saveId: marker.save_id };
    const reason = { code: "SWC_SAVE_DEADLINE", sentence };
    await desk.queue(run, () => abort(desk, withinRun(desk.store, run), { ref, reason }));
  }
}

/** run.json, once per run, after the store has shown that it keeps its promises. */
async function ensureRun(desk: Desk, store: CheckpointStore, request: BeginRequest): Promise<void> {
  if ((await store.size("run.json")) !== null) return;
  const value: JsonObject = {
    swc: SWC_VERSION,
    run: request.run,
    job: request.jobName,
    tenant: request.tenant,
    created: new Date(desk.now()).toISOString(),
    requires: [],
    register: "store",
    store_probe: await probed(desk),
    base: ["base"],
  };
  await store.create("run.json", Buffer.from(seal(value, sha256)));
}

async function probed(desk: Desk): Promise<string> {
  desk.probed ??= probeStore(desk.store);
  try {
    return await desk.probed;
  } catch (reason) {
    desk.probed = null; // a full disk may be emptied
    throw new Fault("unavailable", `no save can begin: ${String(reason)}`, { cause: reason });
  }
}

function folderOf(marker: SaveMarker): string {
  return `data/${dataFolder(nameOf(marker), marker.save_id)}`;
}

function nameOf(marker: SaveName): SaveName {
  return { step: marker.step, generation: marker.generation, try: marker.try };
}

function openKey(run: string, save: SaveName): string {
  return `${run}/${commitKey(save)}`;
}
