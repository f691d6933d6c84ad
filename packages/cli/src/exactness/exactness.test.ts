import type { JobView, ResultView } from "@shardwright/job/phase";
import { describe, expect, it } from "vitest";
import { aRunningJob } from "../../../../test/support/job-builder.ts";
import { nameWith, UNDISTURBED, variantsOf } from "./variants.ts";
import { compareResults, comparisonTable, disturbanceLine } from "./verdict.ts";

const DOCUMENT = {
  apiVersion: "shardwright.dev/v1alpha1",
  kind: "FineTuneJob",
  metadata: { name: "tone", labels: { team: "a" } },
  spec: {
    train: { maxSteps: 12 },
    resources: { members: { replicas: 2, min: 2, max: 8, gpus: 0 }, device: "cpu" },
    export: [{ format: "peft" }],
  },
};

describe("variants", () => {
  it("differ in their names only and export nothing", () => {
    const { undisturbed, disturbed } = variantsOf(DOCUMENT, undefined);
    expect(undisturbed).toEqual({
      ...DOCUMENT,
      metadata: { name: "tone-undisturbed", labels: { team: "a" } },
      spec: { ...DOCUMENT.spec, export: [] },
    });
    expect(disturbed["metadata"]).toEqual({ name: "tone-disturbed", labels: { team: "a" } });
    expect(disturbed["spec"]).toEqual(undisturbed["spec"]);
  });

  it("take another number of members, of which any may be lost", () => {
    const { disturbed } = variantsOf(DOCUMENT, 4);
    expect((disturbed["spec"] as typeof DOCUMENT.spec).resources).toEqual({
      members: { replicas: 4, min: 1, max: 4, gpus: 0 },
      device: "cpu",
    });
  });

  it("keep a long name a name", () => {
    expect(nameWith("a".repeat(48), UNDISTURBED)).toBe(`${"a".repeat(36)}-undisturbed`);
    expect(nameWith(`${"a".repeat(35)}-b-c`, UNDISTURBED)).toBe(`${"a".repeat(35)}-undisturbed`);
  });
});

describe("verdict", () => {
  const RESULT: ResultView = {
    weightsSha256: "aa".repeat(32),
    stateSha256: "bb".repeat(32),
    consumedSha256: "cc".repeat(32),
    artifacts: [],
  };
  function aJob(result: ResultView | null): JobView {
    const job = aRunningJob();
    return { ...job, status: { ...job.status, result } };
  }

  it("is the same only when every hash is there and equal", () => {
    const all = compareResults(aJob(RESULT), aJob({ ...RESULT }));
    expect(all.map(({ same }) => same)).toEqual([true, true, true]);
    for (const [at, key] of (
      ["weightsSha256", "stateSha256", "consumedSha256"] as const
    ).entries()) {
      const other = { ...RESULT, [key]: "dd".repeat(32) };
      expect(compareResults(aJob(RESULT), aJob(other)).map(({ same }) => same)).toEqual(
        [0, 1, 2].map((each) => each !== at),
      );
    }
    expect(compareResults(aJob(null), aJob(null)).some(({ same }) => same)).toBe(false);
    expect(
      compareResults(aJob({ ...RESULT, stateSha256: "" }), aJob({ ...RESULT, stateSha256: "" }))[1]
        ?.same,
    ).toBe(false);
  });

  it("is a table", () => {
    const rows = compareResults(aJob(RESULT), aJob({ ...RESULT, stateSha256: "dd".repeat(32) }));
    expect(comparisonTable(rows)).toBe(
      [
        "SHA-256 OF        UNDISTURBED        DISTURBED          SAME",
        "weights           aaaaaaaaaaaaaaaa   aaaaaaaaaaaaaaaa   ✓",
        "optimizer state   bbbbbbbbbbbbbbbb   dddddddddddddddd   ✗",
        "consumed data     cccccccccccccccc   cccccccccccccccc   ✓",
        "",
      ].join("\n"),
    );
  });

  it("says how much the run was disturbed", () => {
    const job = aJob(RESULT);
    const recoveries = { count: 2, stepsRedone: 1, last: null };
    const disturbed = { ...job, status: { ...job.status, recoveries } };
    expect(disturbanceLine(disturbed, 1)).toBe("disturbed by 1 kill: 2 recoveries, 1 step redone");
  });
});
