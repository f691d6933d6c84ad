import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { ServerFile } from "../context.ts";
import { EXIT, Refusal } from "../exit.ts";

const TOKEN_BYTES = 32;

/** What one `up` holds while it serves a data directory. */
export interface HeldDirectory {
  readonly token: string;
  readonly tokenFile: string;
  /** Written once everything answers; other verbs find us by it. */
  announce(file: ServerFile): void;
  /** Takes the announcement back and lets go of the directory. */
  release(): void;
}

/** Takes a data directory for this process, making it if need be; throws a Refusal while another process serves it. */
export function holdDirectory(dataDir: string): HeldDirectory {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const unlock = tryLock(dataDir);
  if (unlock === null) throw alreadyServed(dataDir);
  const serverFile = join(dataDir, "server.json");
  // What a killed predecessor left would send other verbs to a dead address.
  rmSync(serverFile, { force: true });
  const tokenFile = join(dataDir, "token");
  return {
    token: ownToken(tokenFile),
    tokenFile,
    announce: (file) => writeWhole(serverFile, `${JSON.stringify(file, undefined, 2)}\n`),
    release: () => {
      rmSync(serverFile, { force: true });
      unlock();
    },
  };
}

/** True while a process serves the directory. */
export function isServed(dataDir: string): boolean {
  const unlock = tryLock(dataDir);
  unlock?.();
  return unlock === null;
}

/**
 * An exclusive lock that the kernel takes back however its holder dies: Node has no flock, but SQLite locks its
 * file. Null when another process holds it.
 */
function tryLock(dataDir: string): (() => void) | null {
  const database = new DatabaseSync(join(dataDir, "lock"), { timeout: 0 });
  try {
    database.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    return () => database.close();
  } catch (error) {
    database.close();
    if ((error as { readonly errcode?: number }).errcode === SQLITE_BUSY) return null;
    throw error;
  }
}

const SQLITE_BUSY = 5;

function alreadyServed(dataDir: string): Refusal {
  const server = readServer(dataDir);
  const who = server === null ? "another process" : `process ${server.pid} at ${server.address}`;
  return new Refusal(EXIT.error, `${who} serves ${dataDir} already`, {
    why: "one data directory has one control plane",
    next: "shardctl down, or name another directory with --data-dir",
  });
}

function readServer(dataDir: string): ServerFile | null {
  try {
    return JSON.parse(readFileSync(join(dataDir, "server.json"), "utf8")) as ServerFile;
  } catch {
    return null; // it is still starting
  }
}

function ownToken(path: string): string {
  try {
    const token = readFileSync(path, "utf8").trim();
    if (token !== "") {
      chmodSync(path, 0o600);
      return token;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const token = `sk-sw-${randomBytes(TOKEN_BYTES).toString("base64url")}`;
  writeWhole(path, `${token}\n`);
  return token;
}

/** Beside and renamed: nobody reads half a file. Only for the owner's eyes. */
function writeWhole(path: string, text: string): void {
  const beside = `${path}.${process.pid}.tmp`;
  writeFileSync(beside, text, { mode: 0o600 });
  renameSync(beside, path);
}
