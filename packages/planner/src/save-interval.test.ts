import { describe, expect, it } from "vitest";
import {
  autoSaveSteps,
  dalySeconds,
  saveIntervalSeconds,
  wasteRatio,
  youngSeconds,
} from "./save-interval.ts";

describe("save interval", () => {
  it.each([
    [3 * 3600, 148.8, 900, 1792.8, 1695.0, 2020.7, 25.05],
    [3 * 3600, 0.05, 60, 32.9, 32.8, 33.0, 0.86],
    [24 * 3600, 6.3, 900, 1043.4, 1039.2, 1055.1, 2.25],
    [24 * 3600, 0.78, 300, 367.1, 366.6, 368.5, 0.77],
    [7 * 86_400, 0.05, 60, 245.9, 245.9, 246.0, 0.05],
  ])("M_f %d s, stall %d s, recovery %d s", (...row) => {
    const [faultSeconds, stallSeconds, recoverySeconds, young, daly, ours, waste] = row;
    const facts = { faultSeconds, stallSeconds, recoverySeconds };
    expect(youngSeconds(facts)).toBeCloseTo(young, 1);
    expect(dalySeconds(facts)).toBeCloseTo(daly, 1);
    expect(saveIntervalSeconds(facts)).toBeCloseTo(ours, 1);
    expect(wasteRatio(facts, saveIntervalSeconds(facts)) * 100).toBeCloseTo(waste, 2);
  });
});

describe("autoSaveSteps", () => {
  const adapter = { stateBytes: 12 * 41_943_040, ranks: 1, isSmall: true };
  it("saves an adapter as often as costs one percent of the time and a tenth of the disk", () => {
    // 0.5 GB: 0.25 s of stall are 1 % of 25.2 s; writing takes 2.5 s, a tenth of 25.2 s.
    expect(autoSaveSteps({ ...adapter, stepSeconds: 1 })).toBe(26);
    expect(autoSaveSteps({ ...adapter, stepSeconds: 60 })).toBe(1);
  });

  it("saves full state when faults ask for it, never more often than it can be written", () => {
    const full = { stateBytes: 12 * 8_030_261_248, isSmall: false };
    // 8 ranks: a fault every 1,250 h, 6 s of stall; writing takes 482 s.
    expect(autoSaveSteps({ ...full, ranks: 8, stepSeconds: 10 })).toBeCloseTo(736, -2);
    expect(autoSaveSteps({ ...full, ranks: 1_000_000, stepSeconds: 1 })).toBe(482);
  });
});
