/** The checkpoint-manager as the control plane meets it: begin twice is once, decided is for ever. */

import type { HeadAnswer, Outcome } from "../../packages/control-plane/src/core/events.ts";
import type {
  JobState,
  PreparedWriter,
  SaveKeyState,
  SaveState,
} from "../../packages/control-plane/src/core/state.ts";
import { blocksOwned } from "./rank.ts";

interface Written {
  readonly step: number;
  readonly generation: number;
  readonly blocks: ReadonlyMap<number, number>;
}

interface Save {
  readonly key: SaveKeyState;
  readonly writers: readonly number[];
  readonly blocks: number;
  readonly prepared: Map<number, Written>;
  status: "open" | "committed" | "aborted";
}

/** Refused for a reason that stays: trying again is of no use. */
export class Refusal extends Error {}
/** Not there now; later it may be. */
export class Away extends Error {}

export class CheckpointDesk {
  readonly committed = new Map<string, { step: number; content: ReadonlyMap<number, number> }>();
  private readonly saves = new Map<string, Save>();
  private readonly manifests = new Map<string, Written>();
  private readonly onCommit: (save: SaveKeyState, parts: readonly Written[]) => void;

  constructor(onCommit: (save: SaveKeyState, parts: readonly Written[]) => void) {
    this.onCommit = onCommit;
  }

  begin(
    step: number,
    generation: number,
    state: JobState,
  ): { begun: NonNullable<SaveState["begun"]>; commit: string | null } {
    const live = "live" in state ? state.live : null;
    if (live?.committed == null) throw new Away("a save without a generation");
    const map = live.committed.blockMap;
    const writers = live.committed.seats
      .map(({ rank }) => rank)
      .filter((rank) => blocksOwned(map, rank).length > 0);
    const known = [...this.saves.values()].filter(
      ({ key }) => key.step === step && key.generation === generation,
    );
    const done = known.find(({ status }) => status === "committed");
    const open = known.find(
      (save) => save.status === "open" && String(save.writers) === String(writers),
    );
    this.settleAll(open);
    if (done !== undefined) return { begun: begunOf(done.key), commit: done.key.saveId };
    if (open !== undefined) return { begun: begunOf(open.key), commit: null };
    const key = {
      run: state.uid,
      step,
      generation,
      try: known.length,
      saveId: `save-${step}-${generation}-${known.length}`,
    };
    const save: Save = {
      key,
      writers,
      blocks: map.blocks,
      prepared: new Map(),
      status: "open",
    };
    this.saves.set(key.saveId, save);
    return { begun: begunOf(key), commit: null };
  }

  /** What a writer put into the save's folder; found there also when its report is lost. */
  wrote(saveId: string, writer: number, written: Written): void {
    this.manifests.set(`${saveId}/${writer}`, written);
  }

  reportPrepared(
    key: SaveKeyState,
    { writer }: PreparedWriter,
  ): Extract<Outcome, { kind: "save" }> {
    const save = this.find(key);
    if (save.status === "open") {
      const written = this.manifests.get(`${key.saveId}/${writer}`);
      if (!save.writers.includes(writer) || written === undefined)
        throw new Refusal(`writer ${writer} owns no block in save ${key.saveId}`);
      save.prepared.set(writer, written);
      if (save.prepared.size === save.writers.length) this.prove(save);
    }
    return answerOf(save);
  }

  /** Its commit when the abort comes too late. */
  abort(key: SaveKeyState): string | null {
    const save = this.find(key);
    if (save.status === "open") save.status = "aborted";
    return save.status === "committed" ? save.key.saveId : null;
  }

  head(): HeadAnswer {
    this.settleAll(undefined);
    const newest = [...this.saves.values()]
      .filter(({ status }) => status === "committed")
      .sort((a, b) => b.key.generation - a.key.generation || b.key.step - a.key.step)[0];
    if (newest === undefined) return { kind: "none" };
    const { saveId, step } = newest.key;
    return { kind: "commit", commit: saveId, step, directory: "run" };
  }

  /** Content of a block in a committed checkpoint. */
  restored(commit: string, block: number): number | undefined {
    return this.committed.get(commit)?.content.get(block);
  }

  get undecided(): number {
    return [...this.saves.values()].filter(({ status }) => status === "open").length;
  }

  private find(key: SaveKeyState): Save {
    const save = this.saves.get(key.saveId);
    if (save === undefined) throw new Refusal(`there is no save ${key.saveId}`);
    return save;
  }

  /** Takes over what nobody decided: whole becomes a commit, the rest is aborted. */
  private settleAll(except: Save | undefined): void {
    for (const save of this.saves.values()) {
      if (save.status !== "open" || save === except) continue;
      for (const writer of save.writers) {
        const written = this.manifests.get(`${save.key.saveId}/${writer}`);
        if (written !== undefined) save.prepared.set(writer, written);
      }
      if (save.prepared.size === save.writers.length) this.prove(save);
      else save.status = "aborted";
    }
  }

  /** Coverage: every block once, or it never becomes a checkpoint. */
  private prove(save: Save): void {
    const content = new Map([...save.prepared.values()].flatMap(({ blocks }) => [...blocks]));
    if (content.size !== save.blocks) {
      save.status = "aborted";
      return;
    }
    save.status = "committed";
    const { saveId, step } = save.key;
    this.committed.set(saveId, { step, content });
    this.onCommit(save.key, [...save.prepared.values()]);
  }
}

function begunOf(key: SaveKeyState): NonNullable<SaveState["begun"]> {
  return { key, directory: "", schemaSha256: "", schemaJson: "", crcBlockBytes: 1 };
}

function answerOf(save: Save): Extract<Outcome, { kind: "save" }> {
  const { status } = save;
  const commit = status === "committed" ? save.key.saveId : "";
  const reason = { code: status === "aborted" ? "Aborted" : "", sentence: "" };
  return { kind: "save", status: status === "open" ? "waiting" : status, commit, reason };
}
