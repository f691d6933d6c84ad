import { describe, expect, it } from "vitest";
import { aSpec, LAPTOP, planned, refused, request } from "../../../test/support/plan-requests.ts";
import { FITS_RATIO_MAX } from "./memory.ts";
import { planJob } from "./plan.ts";
import type { DeviceFacts } from "./plan-request.ts";
import { sentBytes } from "./speed.ts";

describe("the ZeRO stage", () => {
  const full = { tuning: { method: "full" as const }, train: { batchSize: 16, maxLength: 256 } };
  const three = { members: { replicas: 3 } };
  const roomy = { devices: { ...LAPTOP, bytesPerRank: 2 ** 36 } };

  it("is 0 for an adapter, 1 for full tuning that fits, with the reason", () => {
    const adapter = planned(planJob(request(aSpec(three))));
    expect([adapter.zeroStage, adapter.copies]).toEqual([0, 3]);
    expect(adapter.explanation.join(" ")).toContain("Stage 0: every rank holds the whole");
    const plan = planned(planJob(request(aSpec({ ...full, ...three }), roomy)));
    expect([plan.zeroStage, plan.copies]).toEqual([1, 2]);
    expect(plan.explanation.join(" ")).toContain("Stage 1: optimizer state is shared out");
    expect(plan.rejected.map(({ what }) => what)).toEqual(
      expect.arrayContaining(["ZeRO stage 0", "ZeRO stage 2"]),
    );
  });

  it("is 2 where only its sums fit, and nothing where not even they do", () => {
    // Peaks of the three stages with the copies that the planner wants, and with one.
    const peak = (zeroStage: 0 | 1 | 2): number => {
      const spec = aSpec({ ...full, ...three, train: { ...full.train, zeroStage } });
      return planned(planJob(request(spec, roomy))).peakBytesPredicted;
    };
    const [whole, one, two] = [peak(0), peak(1), peak(2)];
    expect(two).toBeLessThan(one);
    expect(one).toBeLessThan(whole);
    const room = (bytes: number): DeviceFacts => {
      return { ...LAPTOP, bytesPerRank: Math.ceil(bytes / FITS_RATIO_MAX) };
    };
    const spec = aSpec({ ...full, ...three });
    const plan = planned(planJob(request(spec, { devices: room(two) })));
    expect(plan.zeroStage).toBe(2);
    const rejected = plan.rejected.find(({ what }) => what === "ZeRO stage 1");
    expect(rejected?.code).toBe("DoesNotFit");
    const refusal = refused(planJob(request(spec, { devices: room(two * 0.3) })));
    expect(refusal.code).toBe("DoesNotFit");
  });

  it("is taken from the job where it names one, and refused with the way out where it does not fit", () => {
    for (const zeroStage of [0, 1, 2] as const) {
      const spec = aSpec({ ...full, ...three, train: { ...full.train, zeroStage } });
      const plan = planned(planJob(request(spec, roomy)));
      expect(plan.zeroStage).toBe(zeroStage);
      expect(plan.explanation.join(" ")).toContain(`Stage ${zeroStage}, as asked`);
    }
    const free = planned(planJob(request(aSpec({ ...full, ...three }), roomy)));
    const bytesPerRank = Math.ceil(free.peakBytesPredicted / FITS_RATIO_MAX);
    const spec = aSpec({ ...full, ...three, train: { ...full.train, zeroStage: 0 } });
    const { sentence } = refused(planJob(request(spec, { devices: { ...LAPTOP, bytesPerRank } })));
    expect(sentence).toContain("no train.zeroStage");
  });

  it("counts what a rank sends: whole sums once, or every lane", () => {
    const question = {
      ranks: 4,
      copies: 1,
      lanes: 16,
      leaves: 16,
      trainableElements: 1000,
      wireBytes: 4,
      parameterBytes: 4,
    };
    expect(sentBytes({ ...question, stage: 0 })).toEqual({ reduce: 12_000, gather: 0 });
    expect(sentBytes({ ...question, stage: 1 })).toEqual({ reduce: 3000, gather: 3000 });
    expect(sentBytes({ ...question, stage: 2 })).toEqual({ reduce: 12_000, gather: 3000 });
    expect(sentBytes({ ...question, stage: 2, ranks: 1 })).toEqual({ reduce: 0, gather: 0 });
  });

  it("fast gives up the order and says so: one sum a rank, less memory, no stage 2", () => {
    const exact = planned(planJob(request(aSpec({ ...full, ...three }), roomy)));
    const fast = planned(planJob(request(aSpec({ ...full, ...three, exactness: "fast" }), roomy)));
    expect(fast.memory.gradients).toBeLessThan(exact.memory.gradients);
    expect(fast.memory.transients).toBeLessThan(exact.memory.transients);
    expect(fast.explanation.join(" ")).toContain("bits may differ when the world changes");
    expect(exact.explanation.join(" ")).not.toContain("bits may differ");
    expect(fast.explanation.join(" ")).not.toContain("the same bits");
    expect(fast.rejected.map(({ what }) => what)).not.toContain("ZeRO stage 2");
    expect(fast.warnings).toEqual(exact.warnings);
  });
});
