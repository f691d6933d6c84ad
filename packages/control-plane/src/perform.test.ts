import { Fault } from "@shardwright/job/faults";
import { createLog } from "@shardwright/service";
import { describe, expect, it } from "vitest";
import type { Effect } from "./core/state.ts";
import { type PerformWorld, perform } from "./perform.ts";
import type { JobRecord } from "./ports.ts";

const record = { uid: "u", name: "a", tenant: "default" } as JobRecord;
const release: Effect = { id: "release", kind: "release", why: "complete" };

/** A launcher whose release answers as told, one answer for each try. */
function worldOf(answers: readonly (Error | null)[]): { world: PerformWorld; sleeps: number[] } {
  const sleeps: number[] = [];
  let tries = 0;
  const launcher = {
    release: async () => {
      const answer = answers[Math.min(tries++, answers.length - 1)];
      if (answer instanceof Error) throw answer;
    },
  };
  const world = {
    launcher,
    sleep: async (ms: number) => void sleeps.push(ms),
    log: createLog({ service: "test", version: "0", level: "silent" }),
  } as unknown as PerformWorld;
  return { world, sleeps };
}

describe("perform", () => {
  it("tries again with growing patience", async () => {
    const away = new Fault("unavailable", "away");
    const { world, sleeps } = worldOf([away, away, null]);
    expect(await perform(release, record, world)).toEqual({ kind: "done" });
    expect(sleeps).toEqual([200, 400]);
  });

  it("gives up in the end, with the last reason", async () => {
    const { world, sleeps } = worldOf([new Error("socket closed")]);
    const outcome = await perform(release, record, world);
    expect(outcome).toMatchObject({ kind: "failed", reason: { code: "EffectFailed" } });
    expect(outcome).toHaveProperty("reason.sentence", "release: socket closed");
    expect(sleeps).toHaveLength(11);
  });

  it.each(["invalid", "conflict"] as const)(
    "does not repeat what is refused as %s",
    async (kind) => {
      const complaints = [{ path: "layout", problem: "has a gap" }];
      const { world, sleeps } = worldOf([new Fault(kind, "no", { complaints })]);
      const outcome = await perform(release, record, world);
      expect(outcome).toHaveProperty("reason.sentence", "release: no; layout: has a gap");
      expect(sleeps).toEqual([]);
    },
  );
});
