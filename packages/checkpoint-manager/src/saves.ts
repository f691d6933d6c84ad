import { Fault, type Reason } from "@shardwright/job/faults";
import { type BeginRequest, checkBegin } from "./core/begin-save.ts";
import { commitKey, dataFolder } from "./core/commit-key.ts";
import { chooseHead, type HeadChoice } from "./core/head.ts";
import type { Outcome, Prepared } from "./core/save.ts";
import type { SaveMarker } from "./core/save-marker.ts";
import type { CheckpointStore } from "./ports.ts";
import { readRegister } from "./reader.ts";
import { readMarker, scanRun } from "./run-scan.ts";
import { begin } from "./save-begin.ts";
import {
  type Answer,
  type Begun,
  type Desk,
  nameOf,
  type OpenSave,
  openKey,
  remember,
  type SaveDeskOptions,
  type SaveRef,
} from "./save-desk.ts";
import { advance, outcomeOf, settleAll } from "./save-settle.ts";
import { serialQueue } from "./serial-queue.ts";
import { withinRun } from "./stored-file.ts";

export type { Answer, Begun, SaveDeskOptions, SaveRef } from "./save-desk.ts";

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
