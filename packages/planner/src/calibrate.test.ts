import { describe, expect, it } from "vitest";
import { learn, NO_CALIBRATION, type Observation, ratiosFor, shouldReplan } from "./calibrate.ts";

describe("calibration", () => {
  const seen: Observation = {
    architecture: "llama",
    torchVersion: "2.15.0",
    deviceType: "cpu",
    peakBytesPredicted: 1000,
    peakBytesMeasured: 1100,
    stepSecondsPredicted: 2,
    stepSecondsMeasured: 3,
  };
  it("remembers ratios per architecture and device, the worst memory, a fading average of speed", () => {
    const once = learn(NO_CALIBRATION, seen);
    const twice = learn(once, { ...seen, peakBytesMeasured: 900, stepSecondsMeasured: 5 });
    expect(ratiosFor(twice, { architecture: "llama", deviceType: "cpu" })).toMatchObject({
      memoryRatio: 1.1,
      speedRatio: 2,
      observations: 2,
    });
    expect(ratiosFor(twice, { architecture: "gpt2", deviceType: "cpu" })).toBeNull();
    expect(ratiosFor(null, { architecture: "llama", deviceType: "cpu" })).toBeNull();
  });

  it("ignores measurements that cannot be", () => {
    expect(learn(NO_CALIBRATION, { ...seen, stepSecondsMeasured: 900 })).toBe(NO_CALIBRATION);
    expect(learn(NO_CALIBRATION, { ...seen, peakBytesMeasured: Number.NaN })).toBe(NO_CALIBRATION);
  });

  it("asks for a new plan beyond ten percent", () => {
    expect([shouldReplan(100, 110), shouldReplan(100, 111), shouldReplan(100, 85)]).toEqual([
      false,
      true,
      true,
    ]);
  });
});
