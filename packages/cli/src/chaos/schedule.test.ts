import { expect, it } from "vitest";
import { killSchedule, killsMax, scheduleLine } from "./schedule.ts";
import { pick, seededChance } from "./seeded.ts";

const REQUEST = { seed: 7, kills: 4, totalSteps: 60, prey: "any" } as const;

it("is decided by its request alone", () => {
  expect(killSchedule(REQUEST)).toEqual(killSchedule({ ...REQUEST }));
  expect(killSchedule({ ...REQUEST, seed: 8 })).not.toEqual(killSchedule(REQUEST));
  // Written down: a seed that a user reports must mean the same in the next release.
  expect(scheduleLine(killSchedule(REQUEST))).toBe(
    "step 1: rank, step 4: member, step 40: rank, step 56: rank",
  );
});

it("kills at different steps, in order, after the first and before the last two", () => {
  for (let seed = 0; seed < 500; seed++) {
    for (const totalSteps of [4, 5, 12, 100]) {
      const kills = Math.min(3, killsMax(totalSteps));
      const schedule = killSchedule({ seed, kills, totalSteps, prey: "any" });
      const steps = schedule.map(({ step }) => step);
      expect(steps).toHaveLength(kills);
      expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b));
      expect(Math.min(...steps)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...steps)).toBeLessThanOrEqual(totalSteps - 3);
      for (const { stepShare, choice } of schedule) {
        for (const share of [stepShare, choice]) {
          expect(share).toBeGreaterThanOrEqual(0);
          expect(share).toBeLessThan(1);
        }
      }
    }
  }
});

it("reaches every step and both kinds of prey over the seeds", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 400; seed++) {
    for (const { step, prey } of killSchedule({ seed, kills: 1, totalSteps: 8, prey: "any" }))
      seen.add(`${step} ${prey}`);
  }
  expect([...seen].sort()).toEqual(
    [1, 2, 3, 4, 5].flatMap((step) => [`${step} member`, `${step} rank`]),
  );
});

it("kills only what was asked for", () => {
  for (const prey of ["rank", "member"] as const) {
    const schedule = killSchedule({ ...REQUEST, kills: 20, prey });
    expect(new Set(schedule.map((kill) => kill.prey))).toEqual(new Set([prey]));
  }
});

it("refuses more kills than there are steps for", () => {
  expect(killsMax(3)).toBe(0);
  expect(killsMax(4)).toBe(1);
  expect(() => killSchedule({ ...REQUEST, kills: 2, totalSteps: 4 })).toThrow("at most 1");
});

it("spreads evenly over the numbers from 0 to 1", () => {
  const chance = seededChance(1);
  const counts = new Array<number>(10).fill(0);
  for (let n = 0; n < 10_000; n++) {
    const tenth = Math.floor(chance() * 10);
    counts[tenth] = (counts[tenth] ?? 0) + 1;
  }
  for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(120);
  expect([pick([1, 2, 3], 0), pick([1, 2, 3], 0.999), pick([], 0.5)]).toEqual([1, 3, undefined]);
});
