// One step of the set-up: a program that is run, heard, stopped on Ctrl-C and explained when it fails.
// Plain JavaScript without dependencies, for any Node >= 20.
import { spawn } from "node:child_process";

const STILL_AT_IT_MS = 20_000;
const COMMAND_CHARACTERS_SHOWN = 160;

/** A problem that the user can solve; `next` says how. */
export class SetupProblem extends Error {
  constructor(what, next) {
    super(what);
    this.name = "SetupProblem";
    this.next = next;
  }
}

/** Runs a program, its output line by line to `say`; rejects with a hint drawn from the end of it when it fails. */
export function runChild(program, args, { env, say, signal, cwd }) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(interrupted());
    const child = spawn(program, args, { env, cwd, stdio: ["ignore", "pipe", "pipe"] });
    const begun = Date.now();
    let tail = "";
    let partial = "";
    const hear = (chunk) => {
      const lines = (partial + chunk).split(/\r?\n|\r/);
      partial = lines.pop() ?? "";
      for (const line of lines) {
        if (line.trim() !== "") say(`  ${line}`);
        tail = `${tail}${line}\n`.slice(-4000);
      }
    };
    child.stdout.setEncoding("utf8").on("data", hear);
    child.stderr.setEncoding("utf8").on("data", hear);
    const clock = setInterval(() => {
      say(`  … ${Math.round((Date.now() - begun) / 1000)} s so far`);
    }, STILL_AT_IT_MS);
    const stop = () => child.kill("SIGTERM");
    signal?.addEventListener("abort", stop, { once: true });
    child.on("error", (error) => {
      clearInterval(clock);
      reject(new SetupProblem(`cannot run ${program}: ${error.message}`, "check that it is installed"));
    });
    child.on("close", (code, killedBy) => {
      clearInterval(clock);
      signal?.removeEventListener("abort", stop);
      if (signal?.aborted) reject(interrupted());
      else if (code === 0) resolve();
      else {
        if (partial.trim() !== "") say(`  ${partial}`);
        const what = `${[program, ...args].join(" ").slice(0, COMMAND_CHARACTERS_SHOWN)} ended with ${killedBy ?? code}`;
        reject(new SetupProblem(what, hintFor(tail + partial)));
      }
    });
  });
}

/** What Ctrl-C is answered with, wherever it comes. */
export const INTERRUPTED = "interrupted; run again to go on";

export function interrupted() {
  return new SetupProblem("interrupted", "run the same command again; it goes on from what is there");
}

function hintFor(output) {
  if (/No space left/i.test(output)) return "free some space, or put the cache elsewhere with XDG_CACHE_HOME";
  if (/network|connect|dns|resolve host|timed? ?out|proxy|offline|no matching distribution|ENOTCACHED|ENOTFOUND|ECONNREFUSED/i.test(output)) {
    return "check the network or the package index that pip and uv are configured for, then run it again";
  }
  return "the lines above say what failed; run it again after mending it";
}
