import { type CommitKey, commitKeyText, readCommitKey } from "@shardwright/job/checkpoint";

/** Which save of a run; its key names the one record that decides it. */
export type SaveName = CommitKey;

const FOLDER = /^(\d{20}-\d{10}-\d{3})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
/** The key has three digits for it; a save that failed this often will not succeed. */
export const TRY_MAX = 999;

/** The commit key of a save. Throws RangeError for numbers that have no key. */
export function commitKey(save: SaveName): string {
  const { step, generation } = save;
  if (![step, generation, save.try].every((part) => Number.isSafeInteger(part) && part >= 0)) {
    throw new RangeError(
      `no commit key for step ${step}, generation ${generation}, try ${save.try}`,
    );
  }
  if (generation >= 10 ** 10 || save.try > TRY_MAX) {
    throw new RangeError(
      `generation ${generation} or try ${save.try} is too large for a commit key`,
    );
  }
  return commitKeyText({ step, generation, try: save.try });
}

/** The save that a commit key names, or null when it is none. */
export function parseCommitKey(key: string): SaveName | null {
  return readCommitKey(key);
}

/** Name of the folder under `data/` that a save writes into. */
export function dataFolder(save: SaveName, saveId: string): string {
  return `${commitKey(save)}-${saveId}`;
}

/** Commit key and save id of a folder under `data/`, or null for a name that is no save. */
export function parseDataFolder(
  name: string,
): { readonly key: string; readonly saveId: string } | null {
  const match = FOLDER.exec(name);
  const [key, saveId] = match?.slice(1) ?? [];
  if (key === undefined || saveId === undefined || parseCommitKey(key) === null) return null;
  return { key, saveId };
}

/** Newest first, by (generation, step, try): never by step alone, a zombie may commit a later step. */
export function newestFirst(one: SaveName, other: SaveName): number {
  return other.generation - one.generation || other.step - one.step || other.try - one.try;
}
