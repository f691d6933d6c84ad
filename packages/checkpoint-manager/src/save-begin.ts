import { randomUUID } from "node:crypto";
import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { Fault } from "@shardwright/job/faults";
import { type BeginRequest, crcBlockBytes, savePlanOf } from "./core/begin-save.ts";
import type { JsonObject } from "./core/canonical-json.ts";
import { commitKey, parseCommitKey, TRY_MAX } from "./core/commit-key.ts";
import { chooseHead } from "./core/head.ts";
import type { Outcome } from "./core/save.ts";
import { markerText, type SaveMarker, type SavePlan } from "./core/save-marker.ts";
import { seal } from "./core/sealed.ts";
import type { CheckpointStore } from "./ports.ts";
import { probeStore } from "./probe.ts";
import { type RunScan, scanRun } from "./run-scan.ts";
import { type Begun, type Desk, folderOf, remember } from "./save-desk.ts";
import { settleAll } from "./save-settle.ts";
import { sha256 } from "./sha256.ts";

/** Begins a save or finds the one that the same request began before. */
export async function begin(
  desk: Desk,
  store: CheckpointStore,
  request: BeginRequest,
): Promise<Begun> {
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
