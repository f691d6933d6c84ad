import { fileURLToPath } from "node:url";
import {
  cacheFolder,
  findPython,
  ensurePython as makePython,
  SetupProblem,
} from "../../bin/python-environment.mjs";
import { EXIT, Refusal } from "../exit.ts";

// Paths are relative to this file, in src/up as in dist/up: the bundle must not contain it.

/** Folder that holds the package `shardwright_trainer`; goes into PYTHONPATH. */
export function trainerPath(): string {
  return fileURLToPath(new URL("../../../trainer", import.meta.url));
}

/** Where the repository is, for examples that come with it. */
export function repositoryRoot(): string {
  return fileURLToPath(new URL("../../../..", import.meta.url));
}

/** `${XDG_CACHE_HOME:-~/.cache}/shardwright`: what can be made again. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return cacheFolder(env);
}

/** The trainer's interpreter when it is there already, else undefined. Throws a Refusal for a wrong SHARDWRIGHT_PYTHON. */
export function pythonIfReady(env: NodeJS.ProcessEnv = process.env): string | undefined {
  try {
    return findPython(env);
  } catch (error) {
    throw asRefusal(error);
  }
}

/**
 * The trainer's interpreter; makes its environment when it is missing, telling `say` what that costs before it
 * starts, line by line. Aborting `signal` leaves nothing half made; then, and on any problem, throws a Refusal.
 */
export async function ensurePython(
  say: (line: string) => void,
  options: { readonly env?: NodeJS.ProcessEnv; readonly signal?: AbortSignal } = {},
): Promise<string> {
  try {
    return await makePython({ env: process.env, say, ...options });
  } catch (error) {
    throw asRefusal(error);
  }
}

function asRefusal(error: unknown): unknown {
  if (!(error instanceof SetupProblem)) return error;
  const [what = "", ...why] = error.message.split("\n");
  return new Refusal(EXIT.error, what, { why, next: error.next });
}
