import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { dutyOf, slowDown } from "./slowness.ts";
import type { Victim } from "./victim.ts";

it("runs one part in so many of each period", () => {
  for (const factor of [1.5, 2, 3, 20]) {
    const { runMs, stopMs } = dutyOf(factor);
    expect((runMs + stopMs) / runMs).toBeCloseTo(factor);
  }
});

it.runIf(existsSync("/proc/self/stat"))(
  "stops a rank again and again, and lets it run at the end",
  async () => {
    // Its command line says that it is a rank, and we are its parent.
    const rank = ["-e", "setInterval(() => {}, 1000)", "--", "-m", "shardwright_trainer.rank.main"];
    const child = spawn(process.execPath, rank);
    await once(child, "spawn");
    const pid = child.pid ?? 0;
    const isStopped = (): boolean => /State:\s+T/.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    const victim: Victim = {
      label: "rank 0",
      processes: [{ role: "rank", pid, agentPid: process.pid }],
    };
    const seen: boolean[] = [];
    const watch = setInterval(() => seen.push(isStopped()), 5);
    try {
      const done = await slowDown(victim, { factor: 3, forMs: 400, now: Date.now });
      clearInterval(watch);
      expect(done).toEqual({ struck: true, pids: [pid] });
      expect(new Set(seen)).toEqual(new Set([true, false]));
      const turns = seen.filter((stopped, at) => stopped && seen[at - 1] !== true);
      expect(turns.length).toBeGreaterThan(1);
      await expect.poll(isStopped).toBe(false);
    } finally {
      clearInterval(watch);
      child.kill("SIGKILL");
    }
  },
);

it("does nothing to a process that is not a rank", async () => {
  // A process of ours, but no rank: its command line says so, and it is never stopped.
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  const victim: Victim = {
    label: "rank 0",
    processes: [{ role: "rank", pid, agentPid: process.pid }],
  };
  const done = await slowDown(victim, { factor: 3, forMs: 10_000, now: Date.now });
  expect(done).toMatchObject({ struck: false });
  expect(readFileSync(`/proc/${pid}/status`, "utf8")).not.toMatch(/State:\s+T/);
  child.kill("SIGKILL");
});
