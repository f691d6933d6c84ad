import { expect, it } from "vitest";
import { LONG_PAUSE_SEEDS_MIN, MOMENTS, scheduleOf, seedsOf } from "./schedule.ts";

const MANY = Array.from({ length: 500 }, (_, seed) => scheduleOf(seed));

it("is the same schedule for the same seed, and another for another", () => {
  expect(scheduleOf(17)).toEqual(scheduleOf(17));
  expect(new Set(MANY.map((one) => JSON.stringify({ ...one, seed: 0 }))).size).toBeGreaterThan(480);
});

it("hits everything that can be hit, at every moment there is", () => {
  const deeds = MANY.flatMap((one) => one.deeds);
  const targets = deeds.flatMap((deed) => {
    if (deed.what === "scale") return [];
    return deed.what === "restart" ? deed.meanwhile : deed.targets;
  });
  expect(new Set(deeds.map(({ what }) => what))).toEqual(
    new Set(["kill", "stop", "restart", "terminate", "scale"]),
  );
  expect(new Set(targets.map(({ kind }) => kind))).toEqual(
    new Set(["rank", "agent", "member", "everyRank", "everyMember", "store"]),
  );
  const moments = deeds.flatMap(({ when }) => (when.at === "moment" ? [when.moment] : []));
  expect(new Set(moments)).toEqual(new Set(MOMENTS));
  expect(new Set(deeds.map(({ when }) => when.at))).toEqual(new Set(["step", "ms", "moment"]));
});

it("has every world from one rank to six, for both methods", () => {
  const worlds = MANY.map((one) => `${one.method} ${one.members * one.ranksPerMember}`);
  const wanted = [1, 2, 3, 4, 5, 6].flatMap((ranks) => [`lora ${ranks}`, `full ${ranks}`]);
  expect(new Set(worlds)).toEqual(new Set(wanted));
});

it("scales within what the job allows, and pauses long only where an hour is spent anyhow", () => {
  const sizes = new Set<number>();
  for (const { deeds, membersMax } of MANY) {
    for (const deed of deeds) {
      if (deed.what === "scale") {
        expect(deed.members).toBeLessThanOrEqual(membersMax);
        sizes.add(deed.members);
      }
      if (deed.what === "stop") expect(deed.pauseMs).toBeLessThanOrEqual(2_000);
    }
  }
  expect(sizes).toEqual(new Set([1, 2, 3, 4, 5, 6]));
  const later = Array.from({ length: 200 }, (_, index) => scheduleOf(LONG_PAUSE_SEEDS_MIN + index));
  const isLong = (deed: (typeof later)[number]["deeds"][number]): boolean =>
    deed.what === "stop" && deed.pauseMs > 30_000;
  expect(later.some(({ deeds }) => deeds.some(isLong))).toBe(true);
});

it("stays within six ranks, and its steps go up to the last", () => {
  for (const { members, ranksPerMember, membersMax, steps: total, deeds } of MANY) {
    expect(members).toBeGreaterThanOrEqual(1);
    expect(members).toBeLessThanOrEqual(membersMax);
    expect(membersMax * ranksPerMember).toBeLessThanOrEqual(6);
    expect(deeds.length).toBeGreaterThanOrEqual(1);
    const steps = deeds.flatMap(({ when }) => (when.at === "step" ? [when.step] : []));
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    for (const step of steps) expect(step).toBeLessThanOrEqual(total);
  }
});

it("reads seeds and ranges, and refuses the rest by name", () => {
  expect(seedsOf("1-3, 17")).toEqual([1, 2, 3, 17]);
  expect(() => seedsOf("1-")).toThrow('"1-" is no seed');
  expect(() => seedsOf("8-1")).toThrow('"8-1" is no seed');
});
