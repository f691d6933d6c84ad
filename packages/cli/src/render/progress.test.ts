import type { JobStatusView, JobView } from "@shardwright/job/phase";
import { expect, it } from "vitest";
import { fitted, progressLine } from "./progress.ts";

const NOW = 1_700_000_000_000;
const PROGRESS = {
  step: 118,
  totalSteps: 400,
  loss: 1.2341,
  gradNorm: 0.5,
  learningRate: 1e-4,
  tokensPerSecond: 1912,
  trainedTokens: 1,
  processedTokens: 1,
  stepSeconds: 1,
  etaMs: NOW + 192_000,
  lastStepMs: NOW,
};

function aJob(status: Partial<JobStatusView>): JobView {
  return {
    status: {
      state: "Running",
      progress: null,
      membership: null,
      plan: null,
      checkpoint: null,
      ...status,
    },
  } as JobView;
}

it("says everything that is known in a fixed order", () => {
  const job = aJob({
    progress: PROGRESS,
    membership: { generation: 7, running: 4, wanted: 4, ranks: 4 },
    checkpoint: { step: 100, commit: "c", committedMs: NOW },
  });
  expect(progressLine(job, NOW)).toBe(
    "step 118/400  loss 1.234  1.9k tok/s  4/4 ranks gen 7  ETA 3m12s  ckpt 100",
  );
});

it("leaves out what is not known yet", () => {
  expect(progressLine(aJob({ state: "Starting" }), NOW)).toBe("starting");
  const first = { ...PROGRESS, step: 0, totalSteps: 0, tokensPerSecond: 0, etaMs: null };
  expect(progressLine(aJob({ progress: first }), NOW)).toBe("step 0/?");
});

it("never fills the terminal's last cell", () => {
  expect(fitted("step 118/400  loss 1.234", 12)).toBe("step 118/4…");
  expect(fitted("short", 80)).toBe("short");
});
