import { Damage } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";

/** A whole file below its limit; larger is refused before it is read. */
export async function readWhole(
  store: CheckpointStore,
  path: string,
  bytesMax: number,
): Promise<Uint8Array> {
  const size = await store.size(path);
  if (size === null) throw Damage.of("SWC_MISSING_FILE", `${path}: missing`);
  if (size > bytesMax) {
    throw Damage.of("SWC_SIZE_MISMATCH", `${path}: ${size} bytes, at most ${bytesMax} are allowed`);
  }
  return await readExactly(store, path, 0, size);
}

/** A whole file as text; SWC_BAD_RECORD when it is not UTF-8. */
export async function readText(
  store: CheckpointStore,
  path: string,
  bytesMax: number,
): Promise<string> {
  return decodeText(path, await readWhole(store, path, bytesMax));
}

/** Bytes [begin, end), all of them. */
export async function readExactly(
  store: CheckpointStore,
  path: string,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  const bytes = await store.readRange(path, begin, end);
  if (bytes.length === end - begin) return bytes;
  throw Damage.of(
    "SWC_SIZE_MISMATCH",
    `${path}: ends at byte ${begin + bytes.length}, ${end} expected`,
  );
}

/** UTF-8, strictly; a byte order mark is not swallowed. */
export function decodeText(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw Damage.of("SWC_BAD_RECORD", `${path}: not UTF-8; the record is torn or edited`);
  }
}

/** A view of a store in which `run` is the root. */
export function withinRun(store: CheckpointStore, run: string): CheckpointStore {
  const at = (path: string): string => (path === "" ? run : `${run}/${path}`);
  return {
    create: (path, bytes) => store.create(at(path), bytes),
    replace: (path, bytes) => store.replace(at(path), bytes),
    size: (path) => store.size(at(path)),
    readRange: (path, begin, end) => store.readRange(at(path), begin, end),
    list: (folder) => store.list(at(folder)),
    remove: (path) => store.remove(at(path)),
  };
}
