import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { dutyOf, slowDown } from "./slowness.ts";
import type { Victim } from "./victim.ts";

it("runs one part in so many of each period", () => {
  for (const factor of [1.5, 2, 3, 20]) {
    const { runMs, stopMs } = dutyOf(factor);
    expect((runMs + stopMs) / runMs).toBeCloseTo(factor);
  }
});

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
