import { describe, expect, it } from "vitest";
import { directivesFor } from "../../packages/control-plane/src/core/directives.ts";
import { decide } from "../../packages/control-plane/src/core/lifecycle.ts";
import { silenceAll } from "../../packages/control-plane/src/core/members.ts";
import type { CrashPoint } from "./plane.ts";
import { plainScenario } from "./scenario.ts";
import { World } from "./world.ts";

// Every point at which the process of the control plane may end, between any two of save, act and settle.
const CORE = { decide, directivesFor, silenceAll };

describe("a control plane that ends at one point", () => {
  const calm = new World(plainScenario(-1), CORE);
  const undisturbed = calm.run();

  it("has points of every kind", () => {
    const count = (kind: CrashPoint): number =>
      calm.plane.pointKinds.filter((one) => one === kind).length;
    expect(undisturbed.phase).toBe("complete");
    expect(undisturbed.generations).toBeGreaterThan(1);
    expect(count("save")).toBeGreaterThan(40);
    expect(count("act")).toBeGreaterThan(40);
    expect(count("settle")).toBeGreaterThan(10);
  });

  it("ends as the undisturbed one does, whichever it is", () => {
    const failures: string[] = [];
    for (let point = 0; point < undisturbed.points; point++) {
      const kind = calm.plane.pointKinds[point];
      try {
        const world = new World(plainScenario(point), CORE);
        const { phase, step, lastCommitStep } = world.run();
        const isSame =
          phase === undisturbed.phase &&
          step === undisturbed.step &&
          lastCommitStep === undisturbed.lastCommitStep;
        if (!isSame) failures.push(`point ${point} (${kind}): ${phase} at step ${step}`);
        if (!world.crashed) failures.push(`point ${point} (${kind}): was not reached`);
      } catch (reason) {
        failures.push(`point ${point} (${kind}): ${String(reason)}`);
      }
    }
    expect(failures).toEqual([]);
  });
});
