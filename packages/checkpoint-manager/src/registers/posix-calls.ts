import { constants } from "node:fs";
import { link, lstat, mkdir, open, readdir, realpath, rename, rm, unlink } from "node:fs/promises";

/** A file that is being written. */
export interface NewFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Once only: after a failed fsync the kernel may have dropped the pages and marked them clean. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The system calls of a commit, one by one, so that tests can fail or stop at each of them. Absolute paths. */
export interface PosixCalls {
  /** mkdir; false when it stands already. */
  makeFolder(path: string): Promise<boolean>;
  /** open with O_CREAT | O_EXCL. */
  openNew(path: string): Promise<NewFile>;
  /** link; false on EEXIST. */
  link(existing: string, path: string): Promise<boolean>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  syncFolder(path: string): Promise<void>;
}

/** The real ones. */
export const posixCalls: PosixCalls = {
  makeFolder: (path) => unless("EEXIST", mkdir(path, { mode: 0o755 })),
  openNew: async (path) => {
    const handle = await open(
      path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
      0o644,
    );
    return {
      write: (bytes) => handle.writeFile(bytes),
      sync: () => handle.sync(),
      close: () => handle.close(),
    };
  },
  link: (existing, path) => unless("EEXIST", link(existing, path)),
  unlink,
  rename,
  syncFolder: async (path) => {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** Size of a file whose real path lies in `root`; null when absent. Throws for what leads out through a link. */
export async function fileSize(root: string, path: string): Promise<number | null> {
  const real = await orNull("ENOENT", realpath(path));
  if (real === null) return null;
  await refuseOutside(root, real, path);
  const found = await orNull("ENOENT", lstat(real));
  return found?.isFile() === true ? found.size : null;
}

/** Bytes [begin, end) of a file below `root`, fewer where it ends. */
export async function fileRange(
  root: string,
  path: string,
  begin: number,
  end: number,
): Promise<Uint8Array> {
  await refuseOutside(root, await realpath(path), path);
  const handle = await open(path, constants.O_RDONLY);
  try {
    const { size } = await handle.stat();
    // The file's size bounds what is allocated, whatever a header claims.
    const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - begin));
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, begin + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  } finally {
    await handle.close();
  }
}

/** Names in a folder, null when it is absent. */
export async function namesIn(path: string): Promise<readonly string[] | null> {
  return await orNull("ENOENT", readdir(path));
}

/** Removes a tree; absent is success. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

async function refuseOutside(root: string, real: string, path: string): Promise<void> {
  const base = await realpath(root);
  if (!real.startsWith(`${base}/`)) throw new Error(`${path}: leads out of ${root} through a link`);
}

async function unless(code: string, work: Promise<unknown>): Promise<boolean> {
  return (
    (await orNull(
      code,
      work.then(() => true),
    )) ?? false
  );
}

async function orNull<T>(code: string, work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === code) return null;
    throw reason;
  }
}
