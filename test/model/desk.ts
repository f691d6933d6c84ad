/** The checkpoint-manager: begin twice is once, decided is for ever, all writers or none. */

import type { HeadAnswer, Outcome } from "../../packages/control-plane/src/core/events.ts";
import type { PreparedWriter, SaveKeyState } from "../../packages/control-plane/src/core/state.ts";
import { heldIn } from "./plans.ts";
import { ALL_LANES, type ModelSave, type ModelWorld, must } from "./state.ts";

export function beginSave(world: ModelWorld, step: number, generation: number): Outcome | null {
  const live = "live" in world.core ? world.core.live : null;
  const plan = live?.committed ?? null;
  if (plan === null) return null;
  const writers = plan.seats
    .map(({ rank }) => rank)
    .filter((rank) => heldIn(plan, rank, true).length > 0);
  const known = world.saves.filter((one) => one.step === step && one.generation === generation);
  const again =
    known.find(({ status }) => status === "committed") ??
    known.find((one) => one.status === "open" && String(one.writers) === String(writers));
  settleAll(world, again);
  if (again !== undefined) {
    const commit = again.status === "committed" ? again.saveId : null;
    return { kind: "begun", begun: begunOf(world, again), commit };
  }
  const save: ModelSave = {
    saveId: `s${step}g${generation}t${known.length}`,
    step,
    generation,
    try: known.length,
    writers,
    written: [],
    prepared: [],
    status: "open",
  };
  world.saves.push(save);
  return { kind: "begun", begun: begunOf(world, save), commit: null };
}

export function reportPrepared(
  world: ModelWorld,
  key: SaveKeyState,
  { writer }: PreparedWriter,
): Outcome {
  const save = world.saves.find(({ saveId }) => saveId === key.saveId);
  const failed = { code: "EffectFailed", sentence: `no save ${key.saveId} waits for ${writer}` };
  if (save === undefined || !save.writers.includes(writer))
    return { kind: "failed", reason: failed };
  if (save.status === "open") {
    save.prepared = [...new Set([...save.prepared, writer])].sort();
    if (save.prepared.length === save.writers.length) commit(world, save);
  }
  const status = save.status === "open" ? "waiting" : save.status;
  const reason = { code: "", sentence: "" };
  return { kind: "save", status, commit: status === "committed" ? save.saveId : "", reason };
}

export function abortSave(world: ModelWorld, { saveId }: SaveKeyState): Outcome {
  const save = world.saves.find((one) => one.saveId === saveId);
  if (save?.status === "open") save.status = "aborted";
  return { kind: "abortAnswered", commit: save?.status === "committed" ? saveId : null };
}

export function chooseHead(world: ModelWorld): HeadAnswer {
  settleAll(world, undefined);
  const newest = world.saves
    .filter(({ status }) => status === "committed")
    .sort((a, b) => b.generation - a.generation || b.step - a.step)[0];
  if (newest === undefined) return { kind: "none" };
  return { kind: "commit", commit: newest.saveId, step: newest.step, directory: "" };
}

/** What nobody decided is decided: whole becomes a commit, the rest is aborted. */
function settleAll(world: ModelWorld, except: ModelSave | undefined): void {
  for (const save of world.saves) {
    if (save.status !== "open" || save === except) continue;
    if (save.writers.every((writer) => save.written.includes(writer))) commit(world, save);
    else save.status = "aborted";
  }
}

function commit(world: ModelWorld, save: ModelSave): void {
  must(
    "a save is committed whole or not at all",
    save.writers.every((writer) => save.written.includes(writer)),
    `${save.saveId} without all of its writers' files`,
  );
  must(
    "no checkpoint is ahead of the journal",
    world.rows.slice(0, save.step).every((lanes) => lanes === ALL_LANES),
    `${save.saveId}, the journal holds ${world.rows.join()}`,
  );
  save.status = "committed";
}

function begunOf(world: ModelWorld, { saveId, step, generation, ...save }: ModelSave) {
  return {
    key: { run: world.core.uid, step, generation, try: save.try, saveId },
    directory: "",
    schemaSha256: "",
    schemaJson: "",
    crcBlockBytes: 1,
  };
}
