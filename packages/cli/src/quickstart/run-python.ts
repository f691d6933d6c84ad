import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { trainerPath } from "../up/python.ts";

/** The last lines of standard error that an error quotes. */
const STDERR_CHARACTERS_KEPT = 2_000;

/**
 * Runs one of our Python programs that prints one JSON object a line; `heard` gets each. Resolves when it ends
 * with 0, else throws with the end of its standard error.
 */
export function runPython(
  python: string,
  args: readonly string[],
  heard: (message: unknown) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
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
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${args[0]} ended with ${signal ?? code}\n${stderr.trim()}`));
    });
  });
}
