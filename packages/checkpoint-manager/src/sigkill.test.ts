import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { aWorld, RUN } from "../../../test/support/checkpoint-run.ts";
import { commitKey } from "./core/commit-key.ts";
import { posixStore } from "./registers/posix.ts";
import { scanRun } from "./run-scan.ts";
import { verifyCommit } from "./verify.ts";

const LOOP = fileURLToPath(
  new URL("../../../test/support/checkpoint-save-loop.ts", import.meta.url),
);
/** The child runs outside of the test runner, so its imports of other packages need their build. */
const isBuilt = existsSync(new URL("../../service/dist/log.js", import.meta.url));

// Real processes, killed at chance moments: seconds.
describe.skipIf(!isBuilt)("SIGKILL of the process that commits", { timeout: 120_000 }, () => {
  it("leaves every checkpoint it told of, and every register it wrote is of a whole checkpoint", async () => {
    const root = await mkdtemp(join(tmpdir(), "swc-kill-"));
    let next = 1;
    let committed = 0;
    for (let trial = 0; trial < 10; trial++) {
      const child = spawn(process.execPath, [LOOP, root, String(next)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let said = "";
      const saved = new Promise<void>((resolve) => {
        child.stdout.on("data", (chunk: Buffer) => {
          said += chunk.toString();
          if (/committed/.test(said)) resolve();
        });
      });
      await saved;
      await new Promise((resolve) => setTimeout(resolve, (trial * 17) % 60));
      child.kill("SIGKILL");
      await once(child, "close");
      // 1. What it told of is there, as it is found and after recovery.
      const told = Math.max(
        ...[...said.matchAll(/^(\d+) committed$/gm)].map((match) => Number(match[1])),
      );
      const world = aWorld(posixStore(root));
      for (const { key, register } of (await scanRun(world.store)).candidates) {
        if (!register.ok || register.value.status !== "committed") continue;
        expect((await verifyCommit(world.store, key, "full")).problems).toEqual([]);
        committed++;
      }
      const { head } = await world.desk.head(RUN);
      expect(head?.step ?? 0).toBeGreaterThanOrEqual(told);
      expect(
        head === null ? [] : (await verifyCommit(world.store, commitKey(head), "full")).problems,
      ).toEqual([]);
      // 2. Nothing stays undecided, and the next process goes on.
      expect((await scanRun(world.store)).undecided).toEqual([]);
      next = (head?.step ?? 0) + 1;
    }
    expect(committed).toBeGreaterThan(10);
    await rm(root, { recursive: true, force: true });
  });
});
