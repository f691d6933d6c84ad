// Who makes something that others want too: a lock file with the pid of its holder.
// Plain JavaScript without dependencies, for any Node >= 20.
import * as fs from "node:fs";
import { interrupted, SetupProblem } from "./setup-step.mjs";

// An installation that is older than this is not waited for: its process hangs or its machine is gone.
const LOCK_WAIT_MS = 3_600_000;
const LOCK_POLL_MS = 500;
// A lock is made and filled in one go; one that stays empty is of a process that was killed in between.
const LOCK_EMPTY_MS = 2_000;

/** Takes the lock file, waiting for a live holder and taking over from a dead one. Returns the release. */
export async function takeLock(path, say, signal) {
  const until = Date.now() + LOCK_WAIT_MS;
  let isTold = false;
  for (;;) {
    try {
      fs.writeFileSync(path, String(process.pid), { flag: "wx" });
      return () => fs.rmSync(path, { force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const holder = Number(readIfThere(path));
    // Losing a race here costs work done twice, never a broken environment: what counts is the rename.
    const isDead = holder > 0 ? !isAlive(holder) : isOlderThan(path, LOCK_EMPTY_MS);
    if (isDead) {
      fs.rmSync(path, { force: true });
      continue;
    }
    if (!isTold && holder > 0) {
      say(`waiting for process ${holder}, which is making the same environment (if it is not, remove ${path})`);
      isTold = true;
    }
    if (Date.now() > until) throw new SetupProblem(`${path} is held for an hour`, "end that process or remove the file");
    if (signal?.aborted) throw interrupted();
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
}

function isOlderThan(path, ms) {
  try {
    return Date.now() - fs.statSync(path).mtimeMs > ms;
  } catch {
    return false; // released in between
  }
}

function readIfThere(path) {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return ""; // released in between
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
