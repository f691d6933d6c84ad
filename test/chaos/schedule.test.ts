import { expect, it } from "vitest";
import { MOMENTS, STEPS, scheduleOf, seedsOf } from "./schedule.ts";

const MANY = Array.from({ length: 500 }, (_, seed) => scheduleOf(seed));

it("is the same schedule for the same seed, and another for another", () => {
  expect(scheduleOf(17)).toEqual(scheduleOf(17));
  expect(new Set(MANY.map((one) => JSON.stringify({ ...one, seed: 0 }))).size).toBeGreaterThan(480);
});

it("hits everything that can be hit, at every moment there is", () => {
  const deeds = MANY.flatMap((one) => one.deeds);
  const targets = deeds.flatMap((deed) =>
    deed.what === "restart" ? deed.meanwhile : deed.targets,
  );
  expect(new Set(deeds.map(({ what }) => what))).toEqual(new Set(["kill", "stop", "restart"]));
  expect(new Set(targets.map(({ kind }) => kind))).toEqual(
    new Set(["rank", "agent", "member", "everyRank", "everyMember", "store"]),
  );
  const moments = deeds.flatMap(({ when }) => (when.at === "moment" ? [when.moment] : []));
  expect(new Set(moments)).toEqual(new Set(MOMENTS));
  expect(new Set(deeds.map(({ when }) => when.at))).toEqual(new Set(["step", "ms", "moment"]));
});

it("stays within four ranks, and its steps go up to the last", () => {
  for (const { members, ranksPerMember, method, deeds } of MANY) {
    expect(members * ranksPerMember).toBeGreaterThanOrEqual(1);
    expect(members * ranksPerMember).toBeLessThanOrEqual(4);
    expect(deeds.length).toBeGreaterThanOrEqual(1);
    const steps = deeds.flatMap(({ when }) => (when.at === "step" ? [when.step] : []));
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    for (const step of steps) expect(step).toBeLessThanOrEqual(STEPS[method]);
  }
});

it("reads seeds and ranges, and refuses the rest by name", () => {
  expect(seedsOf("1-3, 17")).toEqual([1, 2, 3, 17]);
  expect(() => seedsOf("1-")).toThrow('"1-" is no seed');
  expect(() => seedsOf("8-1")).toThrow('"8-1" is no seed');
});
