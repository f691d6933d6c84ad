import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { Fault } from "@shardwright/job/faults";
import { commitKey } from "./core/commit-key.ts";
import { KEEP_LAST_DEFAULT } from "./core/retention.ts";
import { decideSave, type Outcome, type SaveEvent } from "./core/save.ts";
import type { SaveMarker } from "./core/save-marker.ts";
import { abortSave, commitSave, type Decided } from "./decide.ts";
import type { CheckpointStore } from "./ports.ts";
import { scanRun } from "./run-scan.ts";
import { type Answer, type Desk, type OpenSave, openKey } from "./save-desk.ts";
import { sweepRun } from "./sweep.ts";
import { settleUndecided } from "./takeover.ts";

/** Decide, act, decide on what came of it, until there is nothing to do. */
export async function advance(
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
export function outcomeOf(marker: SaveMarker, decided: Decided): Outcome {
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

/** Decides every undecided save of a run but the excepted one. */
export async function settleAll(
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
