import type { Log } from "@shardwright/service";
import { commitKey, dataFolder, type SaveName } from "./core/commit-key.ts";
import { type Outcome, openSave, type SaveState } from "./core/save.ts";
import type { SaveMarker } from "./core/save-marker.ts";
import type { CheckpointStore } from "./ports.ts";
import type { SerialQueue } from "./serial-queue.ts";

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

/** A save that is open in this process. */
export interface OpenSave {
  readonly run: string;
  readonly marker: SaveMarker;
  state: SaveState;
}

export interface Desk extends SaveDeskOptions {
  /** By run and commit key. Only a cache: what is not here is read from the run's folder. */
  readonly open: Map<string, OpenSave>;
  readonly queue: SerialQueue;
  /** Digest of what the store has shown to keep; tried once, before the first save. */
  probed: Promise<string> | null;
}

/** The save as open in this process; the same object for the same save. */
export function remember(desk: Desk, run: string, marker: SaveMarker): OpenSave {
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

/** Folder of a save, relative to the run. */
export function folderOf(marker: SaveMarker): string {
  return `data/${dataFolder(nameOf(marker), marker.save_id)}`;
}

/** Only the name of something that has one. */
export function nameOf(marker: SaveName): SaveName {
  return { step: marker.step, generation: marker.generation, try: marker.try };
}

/** Key of an open save. */
export function openKey(run: string, save: SaveName): string {
  return `${run}/${commitKey(save)}`;
}
