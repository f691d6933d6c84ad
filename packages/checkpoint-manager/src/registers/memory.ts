import type { CheckpointStore, Created } from "../ports.ts";
import { sameOrTaken } from "./standing.ts";

export interface MemoryStore extends CheckpointStore {
  /** Every file by path: tests damage and compare them. */
  readonly files: Map<string, Uint8Array>;
}

/** A store in memory with the semantics of the real ones; for tests and simulations. */
export function memoryStore(files: Map<string, Uint8Array> = new Map()): MemoryStore {
  return {
    files,
    create: (path, bytes) => settled(() => createIn(files, path, bytes)),
    replace: (path, bytes) => settled(() => void files.set(path, copyOf(bytes))),
    size: (path) => settled(() => files.get(path)?.length ?? null),
    readRange: (path, begin, end) =>
      settled(() => {
        const bytes = files.get(path);
        if (bytes === undefined) throw new Error(`${path}: no such file`);
        return copyOf(bytes.subarray(begin, end));
      }),
    list: (folder) => settled(() => namesIn(files, folder)),
    remove: (path) =>
      settled(() => {
        for (const name of [...files.keys()]) {
          if (name === path || name.startsWith(`${path}/`)) files.delete(name);
        }
      }),
  };
}

function createIn(files: Map<string, Uint8Array>, path: string, bytes: Uint8Array): Created {
  const standing = files.get(path);
  if (standing !== undefined) return sameOrTaken(standing, bytes);
  files.set(path, copyOf(bytes));
  return { outcome: "created" };
}

function namesIn(files: ReadonlyMap<string, Uint8Array>, folder: string): readonly string[] {
  const prefix = folder === "" ? "" : `${folder}/`;
  const below = [...files.keys()].filter((path) => path.startsWith(prefix));
  return [...new Set(below.map((path) => path.slice(prefix.length).split("/")[0] ?? ""))].sort();
}

/** Buffer.slice shares memory, unlike the method of Uint8Array that it overrides. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

async function settled<T>(work: () => T): Promise<T> {
  return work();
}
