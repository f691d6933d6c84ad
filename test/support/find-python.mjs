// Where the trainer's Python environment is: SHARDWRIGHT_PYTHON, or the environment in the user's cache
// keyed by the lock (packages/cli/src/up/python.ts makes it). Undefined when there is none.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export function findPython() {
  const named = process.env["SHARDWRIGHT_PYTHON"];
  if (named) return named;
  const lock = join(
    dirname(fileURLToPath(import.meta.url)),
    "../../packages/trainer/requirements.lock",
  );
  const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 16);
  const folder = join(
    process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"),
    "shardwright",
    "python",
  );
  if (!existsSync(folder)) return undefined;
  const made = readdirSync(folder).find(
    (name) => name.startsWith(`${digest}-`) && !name.endsWith(".tmp"),
  );
  return made ? join(folder, made, "bin", "python") : undefined;
}
