import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import type { CheckpointStore, Created } from "../ports.ts";
import {
  fileRange,
  fileSize,
  namesIn,
  type PosixCalls,
  posixCalls,
  removeTree,
} from "./posix-calls.ts";
import { sameOrTaken } from "./standing.ts";

/** Names of ours that no reader sees: files before their link, folders on their way out. */
const HIDDEN = /^\.(tmp|trash)-/;

/** No write-once object is larger; a longer one differs from ours whatever it holds. */
const STANDING_BYTES_MAX = 64 * 1024 * 1024 + 1;

/**
 * A local disk, a volume or NFSv4. The commit is a link onto the register's name: unlike a rename it never
 * overwrites, and unlike an exclusive open it shows the content whole or not at all.
 */
export function posixStore(root: string, calls: PosixCalls = posixCalls): CheckpointStore {
  const at = (path: string): string => join(root, path);
  return {
    create: (path, bytes) => create({ root, calls }, path, bytes),
    replace: async (path, bytes) => {
      const temporary = await writeBeside({ root, calls }, path, bytes);
      await calls.rename(temporary, at(path));
      await calls.syncFolder(dirname(at(path)));
    },
    size: (path) => fileSize(root, at(path)),
    readRange: (path, begin, end) => fileRange(root, at(path), begin, end),
    list: async (folder) => {
      const names = await namesIn(at(folder));
      if (names === null) return [];
      // Whoever made an entry may have died before this: nobody acts on a name that a power cut can take back.
      await calls.syncFolder(at(folder));
      return names.filter((name) => !HIDDEN.test(name)).sort();
    },
    remove: (path) => remove({ root, calls }, path),
  };
}

interface Disk {
  readonly root: string;
  readonly calls: PosixCalls;
}

async function create({ root, calls }: Disk, path: string, bytes: Uint8Array): Promise<Created> {
  const target = join(root, path);
  // 1. The content, whole and durable, under a name of its own.
  const temporary = await writeBeside({ root, calls }, path, bytes);
  // 2. The decision: at most one link onto the name succeeds.
  const won = await calls.link(temporary, target);
  await calls.unlink(temporary);
  // 3. Only what a power cut cannot take back is told to anybody; this also covers a register found standing.
  await calls.syncFolder(dirname(target));
  if (won) return { outcome: "created" };
  return sameOrTaken(await fileRange(root, target, 0, STANDING_BYTES_MAX), bytes);
}

/** A new, synced file in the folder of `path`, whose missing folders are made. Returns its absolute name. */
async function writeBeside(
  { root, calls }: Disk,
  path: string,
  bytes: Uint8Array,
): Promise<string> {
  const folder = dirname(join(root, path));
  await makeFolders({ root, calls }, dirname(path));
  const temporary = join(folder, `.tmp-${randomUUID()}`);
  const file = await calls.openNew(temporary);
  try {
    await file.write(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

async function makeFolders({ root, calls }: Disk, folder: string): Promise<void> {
  let at = root;
  for (const part of folder === "." ? [] : folder.split("/")) {
    const parent = at;
    at = join(at, part);
    // Also for a folder that stands: its maker may have died between mkdir and fsync.
    await calls.makeFolder(at);
    await calls.syncFolder(parent);
  }
}

/** A rename takes the tree out of sight at once; what a crash leaves of it is named as rubbish. */
async function remove({ root, calls }: Disk, path: string): Promise<void> {
  const trash = join(root, `.trash-${randomUUID()}`);
  try {
    await calls.rename(join(root, path), trash);
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === "ENOENT") return;
    throw reason;
  }
  await calls.syncFolder(dirname(join(root, path)));
  await removeTree(trash);
}

/** Deletes what an interrupted removal left in the root. Called once at start, before anybody removes. */
export async function emptyTrash(root: string): Promise<void> {
  const names = (await namesIn(root)) ?? [];
  for (const name of names) if (name.startsWith(".trash-")) await removeTree(join(root, name));
}
