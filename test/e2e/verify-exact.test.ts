import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Embedded, fixtures, type JobObject, tinyJob } from "./harness.ts";

// What a user types to see that a kill changes nothing.

let shardwright: Embedded;
let folder: string;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
});
afterAll(async () => {
  await shardwright.stop();
});

function writeJob(name: string, steps: number): string {
  const file = join(shardwright.dataDir, `${name}.json`);
  const extra = { checkpoint: { every: { steps: 20 }, keepLast: 2 } };
  writeFileSync(file, JSON.stringify(tinyJob(folder, { name, steps, extra })));
  return file;
}

interface Verdict {
  readonly exact: boolean;
  readonly kills: readonly { readonly step: number; readonly victim: string }[];
  readonly recoveries: { readonly count: number };
  readonly hashes: readonly { readonly disturbed: string; readonly same: boolean }[];
}

it("verify-exact kills on a schedule, finds every bit the same and leaves nothing", async () => {
  const file = writeJob("bits", 60);
  const verified = await shardwright.ctl(
    ...["verify-exact", "-f", file, "--kills", "2", "--seed", "3", "--members", "2", "-o", "json"],
  );
  expect(verified.code, verified.stderr).toBe(0);
  const verdict = JSON.parse(verified.stdout) as Verdict;
  expect(verdict.exact).toBe(true);
  expect(verdict.kills).toHaveLength(2);
  expect(verdict.recoveries.count).toBeGreaterThanOrEqual(1);
  expect(verdict.hashes.map(({ same }) => same)).toEqual([true, true, true]);
  for (const { disturbed } of verdict.hashes) expect(disturbed).toMatch(/^[0-9a-f]{64}$/);
  expect(verified.stderr).toMatch(/^kill 1 of 2 at step \d+: /m);
  expect((await shardwright.json<{ items: JobObject[] }>("get", "jobs")).items).toEqual([]);
});

it("chaos shows a kill, a stop and a restart; blockmap shows who holds what", async () => {
  const applied = await shardwright.ctl("apply", "-f", writeJob("long", 5_000));
  expect(applied.code, applied.stderr).toBe(0);
  await shardwright.reach("long", 5);

  const unasked = await shardwright.ctl("chaos", "long", "kill-rank");
  expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining("--yes")]);

  const killed = await shardwright.ctl("chaos", "long", "kill-rank", "--rank", "1", "--yes");
  expect(killed.code, killed.stderr).toBe(0);
  expect(killed.stdout).toMatch(
    /^rank 1 killed \(pid \d+\) → generation 2 with \d ranks?, step \d+, 0 steps lost, /,
  );

  const drawn = await shardwright.ctl("blockmap", "long");
  expect(drawn.stdout).toMatch(/^rank 0 {2}long-m\d {2}[#+.-]+/m);
  expect(drawn.stdout).toMatch(/^last change: generation \d -> \d: /m);

  const stopped = await shardwright.ctl(
    ...["chaos", "long", "stop-rank", "--for", "500ms", "--seed", "1", "--yes"],
  );
  expect(stopped.code, stopped.stderr).toBe(0);
  expect(stopped.stdout).toContain(" stopped for 0.5 s ");

  const restarted = await shardwright.ctl("chaos", "long", "restart-control-plane", "--yes");
  expect(restarted.code, restarted.stderr).toBe(0);
  expect(restarted.stdout).toMatch(/^control plane killed \(pid \d+\) and started again/);
  expect((await shardwright.ctl("delete", "job/long", "--yes")).code).toBe(0);
});
