import { Job } from "@shardwright/proto";
import { describe, expect, it } from "vitest";
import { NO_LEDGER, NO_TALLIES } from "./accounts.ts";
import { Fault } from "./faults.ts";
import { makeJobUid } from "./ids.ts";
import { floatText, jobToObject, timeText } from "./job-object.ts";
import { API_VERSION, KIND, parseJobDocument } from "./parse.ts";
import {
  JOB_STATES,
  type JobStatusView,
  type JobView,
  type PlanView,
  queuedStatus,
} from "./phase.ts";
import { jobFromWire, jobToWire, planFromWire, planToWire } from "./wire.ts";

const plan: PlanView = {
  zeroStage: 1,
  ranks: 4,
  members: 2,
  ranksPerMember: 2,
  blockElements: 65_536,
  trainableElements: 4_884_480,
  copies: 2,
  recipe: {
    computeDtype: "fp32",
    wireDtype: "fp32",
    lanes: 8,
    microBatchesPerLane: 1,
    microBatchRows: 2,
    rowTokens: 0,
    crossEntropyRows: 256,
    attention: "sdpa",
    threadsPerRank: 1,
    optimizerImplementation: "loop",
    gradientCheckpointing: "none",
    deviceType: "cpu",
    computedTokens: "needed",
  },
  memory: {
    weights: 538_000_000,
    gradients: 1,
    optimizer: 2,
    replicas: 3,
    activations: 4,
    logits: 5,
    transients: 6,
    context: 7,
    slack: 8,
  },
  peakBytesPredicted: 2 ** 40,
  deviceBytes: 2 ** 41,
  stepSecondsPredicted: 1.25,
  totalStepsPredicted: 92,
  hoursPredicted: 0.032,
  rejected: [{ what: "zero stage 3", code: "NotBuilt", sentence: "weights fit" }],
  explanation: ["It fits."],
  warnings: ["slow disk"],
  saveEverySteps: 20,
  snapshotEverySteps: 3,
  fits: true,
};

const status: JobStatusView = {
  state: "Running",
  reason: { code: "GenerationCommitted", sentence: "generation 3 runs" },
  conditions: [
    {
      type: "Running",
      status: "True",
      reason: { code: "GenerationCommitted", sentence: "4 ranks" },
      lastTransitionMs: 1_000,
    },
  ],
  plan,
  membership: { generation: 3, running: 2, wanted: 2, ranks: 4 },
  progress: {
    step: 118,
    totalSteps: 400,
    loss: 1.2340000012345,
    gradNorm: 0.5,
    learningRate: 2e-4,
    tokensPerSecond: 1900,
    trainedTokens: 2 ** 35,
    processedTokens: 2 ** 36,
    stepSeconds: 0.75,
    etaMs: 1_790_000_000_000,
    lastStepMs: null,
  },
  recoveries: { count: 3, stepsRedone: 1, last: { cause: "killed", seconds: 0.6 } },
  checkpoint: { step: 100, commit: "00000000000000000100-0000000003-000", committedMs: 5_000 },
  result: {
    weightsSha256: "aa",
    stateSha256: "bb",
    consumedSha256: "cc",
    artifacts: [{ format: "peft", location: "file:///exports/tone/peft" }],
  },
  evaluations: [
    { metric: "exact_match", variant: "base", value: 0.031 },
    { metric: "exact_match", variant: "tuned", value: 0.712 },
  ],
  ledger: {
    ...NO_LEDGER,
    byCategory: {
      ...NO_LEDGER.byCategory,
      productive: { ms: 2 ** 41, openRanks: 0 },
      redone: { ms: 500, openRanks: 1 },
    },
    heldMs: 2 ** 41 + 700,
    unsettledMs: 200,
    trainingRanks: 3,
    bookedMs: 1_790_000_000_000,
  },
  tallies: {
    ...NO_TALLIES,
    interruptions: { ...NO_TALLIES.interruptions, hang: 1 },
    recoveries: { ...NO_TALLIES.recoveries, respawn: 3 },
    saves: 2,
    lastSave: { bytes: 2 ** 40, seconds: 1.5 },
    movedBytes: 2 ** 42,
  },
  measure: {
    steps: 118,
    seconds: 88.5,
    sections: { data: 1, forward_backward: 80, reduce: 4, optimizer: 2, gather: 1, other: 0.5 },
    stallSeconds: 0.25,
    peakBytes: 2 ** 33,
  },
};

function viewWith(more: Partial<JobView>): JobView {
  const reading = parseJobDocument({
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: { name: "tone", labels: { team: "a" }, annotations: { note: "first" } },
    spec: {
      model: { source: "file:///models/tiny" },
      data: { train: { source: "file:///data/train.jsonl" } },
    },
  });
  if (!reading.ok) throw new Error("the document is legal");
  return {
    tenant: "default",
    name: "tone",
    uid: makeJobUid(1_700_000_000_000, new Uint8Array(10)),
    revision: 17,
    createdMs: 1_700_000_000_000,
    finishedMs: null,
    document: reading.document,
    status,
    ...more,
  };
}

/** Through bytes: what really travels. */
function travelled(view: JobView): JobView {
  return jobFromWire(Job.decode(Job.encode(jobToWire(view)).finish()));
}

describe("a job on the wire", () => {
  it("comes back as it was", () => {
    const view = viewWith({ finishedMs: 1_700_000_100_000 });
    expect(travelled(view)).toEqual(view);
  });

  it.each(JOB_STATES)("comes back in state %s, with nothing in it yet", (state) => {
    const empty = queuedStatus({ code: "Queued", sentence: "waits for its turn" }, null);
    const view = viewWith({ status: { ...empty, state } });
    expect(travelled(view)).toEqual(view);
  });

  it("carries numbers that are none", () => {
    const progress = { ...status.progress, loss: Number.NaN } as NonNullable<
      typeof status.progress
    >;
    const view = viewWith({ status: { ...status, progress } });
    expect(travelled(view).status.progress?.loss).toBeNaN();
  });

  it.each([
    ["uid", { uid: "nonsense" }, 'its uid is "nonsense"'],
    ["spec", { specJson: "{" }, "its spec is no JSON"],
    ["old spec", { specJson: '{"model":{}}' }, "spec.model.source"],
    ["status", { status: undefined }, "it has no status"],
  ])("is refused with a fault when its %s is wrong", (_, wrong, why) => {
    const job = { ...jobToWire(viewWith({})), ...wrong };
    expect(() => jobFromWire(job)).toThrow(Fault);
    expect(() => jobFromWire(job)).toThrow(why);
  });

  it("leaves out conditions of a newer server", () => {
    const job = jobToWire(viewWith({}));
    const strange = {
      type: "Levitating",
      status: "True",
      reason: undefined,
      lastTransitionTime: undefined,
    };
    job.status?.conditions.push(strange);
    expect(jobFromWire(job).status.conditions).toEqual(status.conditions);
  });

  it("refuses counts beyond 2^53", () => {
    const wire = { ...planToWire(plan), peakBytesPredicted: 2n ** 60n };
    expect(() => planFromWire(wire)).toThrow(RangeError);
    expect(planFromWire(planToWire(plan))).toEqual(plan);
  });
});

describe("the object of `get -o json`", () => {
  const object = jobToObject(viewWith({}));

  it("has the names that scripts stand on", () => {
    expect(object).toMatchObject({
      apiVersion: "shardwright.dev/v1alpha1",
      kind: "FineTuneJob",
      metadata: {
        name: "tone",
        namespace: "default",
        resourceVersion: "17",
        creationTimestamp: "2023-11-14T22:13:20Z",
        labels: { team: "a" },
      },
      spec: { train: { learningRate: 2e-4 } },
      status: {
        state: "Running",
        conditions: [
          {
            type: "Running",
            status: "True",
            reason: "GenerationCommitted",
            message: "4 ranks",
            lastTransitionTime: "1970-01-01T00:00:01Z",
          },
        ],
        plan: {
          zeroStage: 1,
          lanes: 8,
          microBatch: 2,
          ranks: 4,
          blockElements: 65_536,
          peakBytesPredicted: 2 ** 40,
        },
        membership: {
          generation: 3,
          running: 2,
          wanted: 2,
          ranks: 4,
          selector: "shardwright.dev/job=tone",
        },
        progress: { step: 118, totalSteps: 400, loss: "1.234", tokensPerSecond: "1900" },
        recoveries: { count: 3, stepsRedone: 1, last: { cause: "killed", seconds: "0.6" } },
        checkpoint: { step: 100, time: "1970-01-01T00:00:05Z" },
        ledger: {
          rankMilliseconds: { productive: 2 ** 41, redone: 500, idle: 0 },
          unsettledRankMilliseconds: 200,
          heldRankMilliseconds: 2 ** 41 + 700,
          goodput: "1",
        },
        tallies: { interruptions: { hang: 1, oom: 0 }, recoveries: { respawn: 3 }, saves: 2 },
        measured: { steps: 118, meanStepSeconds: "0.75", peakBytes: 2 ** 33 },
        evaluation: { exact_match: { base: "0.031", tuned: "0.712" } },
        result: {
          weightsSha256: "aa",
          artifacts: [{ format: "peft", location: "file:///exports/tone/peft" }],
        },
      },
    });
  });

  it("is JSON and runs again", () => {
    const reading = parseJobDocument(JSON.parse(JSON.stringify(object)));
    expect(reading).toMatchObject({ ok: true, document: viewWith({}).document });
  });

  it("leaves out what is not there yet", () => {
    const empty = queuedStatus({ code: "Queued", sentence: "waits" }, null);
    expect(jobToObject(viewWith({ status: empty }))["status"]).toEqual({
      state: "Queued",
      reason: "Queued",
      message: "waits",
      conditions: [],
      recoveries: { count: 0, stepsRedone: 0 },
    });
  });

  it("writes floats and times as text", () => {
    expect([floatText(2e-4), floatText(1 / 3), floatText(Number.NaN)]).toEqual([
      "0.0002",
      "0.333333333",
      "NaN",
    ]);
    expect(timeText(1_999)).toBe("1970-01-01T00:00:01Z");
  });
});
