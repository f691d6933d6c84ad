import { NO_LEDGER } from "@shardwright/job/accounts";
import { describe, expect, it } from "vitest";
import { aJob, aRunningJob } from "../../../../test/support/job-builder.ts";
import { ledgerTable, measuredPairs } from "./books.ts";

describe("the books of a job", () => {
  const job = aRunningJob();

  it("shows where the time went, up to now, with shares of what was held", () => {
    const ledger = {
      ...NO_LEDGER,
      byCategory: {
        ...NO_LEDGER.byCategory,
        starting: { ms: 2_000, openRanks: 0 },
        productive: { ms: 6_000, openRanks: 0 },
      },
      heldMs: 8_000,
      trainingRanks: 2,
      bookedMs: 1_000,
    };
    expect(ledgerTable({ ...job, status: { ...job.status, ledger } }, 2_000)).toBe(
      [
        "RANK TIME         SECONDS     SHARE       NOW",
        "starting            2.000    20.0 %         -",
        "productive          6.000    60.0 %         -",
        "not yet settled     2.000    20.0 %   2 ranks",
        "held               10.000   100.0 %         -",
        "goodput 80.0 %, with training that no checkpoint covers yet counted as productive",
        "",
      ].join("\n"),
    );
    expect(ledgerTable(aJob(), 2_000)).toBe("");
  });

  it("sets what was measured beside what was predicted", () => {
    const measure = {
      steps: 4,
      seconds: 4,
      sections: { data: 0, forward_backward: 4, reduce: 0, optimizer: 0, gather: 0, other: 0 },
      stallSeconds: 0,
      peakBytes: 82,
    };
    expect(measuredPairs({ ...job, status: { ...job.status, measure } })).toEqual([
      ["Step", "0.5 s predicted, 1.0 s measured (2.00 ×) on 4 steps"],
      ["Peak of a rank", "41 B predicted, 82 B measured (2.00 ×)"],
    ]);
    expect(measuredPairs(aJob())).toEqual([]);
  });
});
