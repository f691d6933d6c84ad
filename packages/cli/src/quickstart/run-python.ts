import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { trainerPath } from "../up/python.ts";

/** The last lines of standard error that an error quotes. */
const STDERR_CHARACTERS_KEPT = 2_000;

/** Time for an interrupted child to put its half-made files away; what is left of it is killed. */
const LEAVE_MS_MAX = 5_000;

/** Interrupts the child when `signal` aborts, and kills it when it stays. Returns what forgets about it. */
export function interruptOn(signal: AbortSignal, child: ChildProcess): () => void {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    child.kill("SIGINT");
    timer = setTimeout(() => child.kill("SIGKILL"), LEAVE_MS_MAX);
  };
  signal.addEventListener("abort", stop, { once: true });
  return () => {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  };
}

/**
 * Runs one of our Python programs that prints one JSON object a line; `heard` gets each. Resolves when it ends
 * with 0, else throws with the end of its standard error. After
 * `signal` it is interrupted, and waited for.
 */
export function runPython(
  python: string,
  args: readonly string[],
  hearing: { readonly signal: AbortSignal; heard(message: unknown): void },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal, heard } = hearing;
    signal.throwIfAborted();
    const child = spawn(python, [...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        PYTHONPATH: trainerPath(),
        PYTHONUNBUFFERED: "1",
        TOKENIZERS_PARALLELISM: "false",
        HF_HUB_OFFLINE: "1",
      },
    });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => {
      stderr = (stderr + chunk.toString("utf8")).slice(-STDERR_CHARACTERS_KEPT);
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("{")) heard(JSON.parse(line));
    });
    const unwatch = interruptOn(signal, child);
    child.on("error", reject);
    child.on("close", (code, killedBy) => {
      unwatch();
      if (code === 0) resolve();
      else reject(new Error(`${args[0]} ended with ${killedBy ?? code}\n${stderr.trim()}`));
    });
  });
}
