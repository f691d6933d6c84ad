import { SectionSeconds, StepReport } from "@shardwright/proto";
import { describe, expect, it } from "vitest";
import type { JobHistory, LaneRow } from "./ports.ts";
import { createStepRows, type Recorded, type StepContext } from "./step-rows.ts";

const LANES = 2;

function report(step: number, ...lanes: readonly number[]): StepReport {
  return StepReport.fromPartial({
    step: BigInt(step),
    loss: step / 10,
    lanes: lanes.map((lane) => ({
      lane,
      exampleIds: [BigInt(step * LANES + lane)],
      trainedTokensCount: 10n,
      processedTokensCount: 16n,
    })),
  });
}

/** A journal of one job that keeps each batch it was given; `hold` makes it wait. */
function journal(): { history: JobHistory; batches: LaneRow[][]; fail: { reason: unknown } } {
  const batches: LaneRow[][] = [];
  const fail = { reason: null as unknown };
  const steps = new Map<number, Set<number>>();
  const recordLanes = async (_: string, rows: readonly LaneRow[]): Promise<number> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (fail.reason !== null) throw fail.reason;
    batches.push([...rows]);
    for (const { step, lane } of rows) steps.set(step, (steps.get(step) ?? new Set()).add(lane));
    let complete = 0;
    while (steps.get(complete + 1)?.size === LANES) complete++;
    return complete;
  };
  return { history: { recordLanes } as unknown as JobHistory, batches, fail };
}

/** Rows of a journal with all that they tell; `reasons` takes why it refused. */
function rowsOf(history: JobHistory, reasons: unknown[] = []) {
  const told: Recorded[] = [];
  const rows = createStepRows({
    history,
    now: () => 7,
    recorded: (_, recorded) => told.push(recorded),
    failed: (_, reason) => reasons.push(reason),
  });
  return { rows, told };
}

function contextOf(member: string): StepContext {
  return { uid: "u", member, generation: 1, lanes: LANES, known: { step: 0, facts: null } };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("step rows", () => {
  it("takes a time that is none for nothing: one report does not spoil the sums for good", async () => {
    const { history } = journal();
    const { rows, told } = rowsOf(history);
    const context = contextOf("m0");
    const wrong = { seconds: Number.NaN, stallSeconds: Number.POSITIVE_INFINITY };
    rows.add({ ...report(1, 0, 1), ...wrong, sections: undefined }, context);
    rows.add({ ...report(2, 0, 1), gradNorm: Number.NaN }, context);
    rows.add({ ...report(3, 0, 1), seconds: -1 }, context);
    await settled();
    const facts = told.at(-1)?.facts;
    expect(told.at(-1)?.step).toBe(3);
    expect(facts).toMatchObject({ seconds: 0, measured: { seconds: 0, stallSeconds: 0 } });
    const numbers = JSON.stringify(facts);
    expect(numbers).not.toContain("null");
  });

  it("writes what comes meanwhile in one batch, and counts only whole steps", async () => {
    const { history, batches } = journal();
    const { rows, told } = rowsOf(history);
    const context = contextOf("m0");
    rows.add(report(1, 0), context);
    rows.add(report(1, 1), context);
    rows.add(report(2, 0), context);
    rows.add(report(1, 1), context); // a report that comes twice
    await settled();
    expect(batches.map((batch) => batch.length)).toEqual([1, 3]);
    expect(told.map(({ step }) => step)).toEqual([0, 1]);
    expect(told[1]?.facts).toMatchObject({
      trainedTokens: 20,
      processedTokens: 32,
    });
    rows.add(report(2, 1), context);
    await settled();
    expect(told.at(-1)?.step).toBe(2);
  });

  it("tells everybody of a new step once, and later only who tells of it again", async () => {
    const { rows, told } = rowsOf(journal().history);
    const batches = [
      [report(1, 0), contextOf("m0")],
      [report(1, 1), contextOf("m1")],
      [report(2, 0), contextOf("m0")],
      [report(1, 1), contextOf("m1")],
    ] as const;
    for (const [said, context] of batches) {
      rows.add(said, context);
      await settled();
    }
    expect(told.map(({ step, tell }) => [step, tell])).toEqual([
      [0, []],
      [1, "everybody"],
      [1, []],
      [1, ["m1"]],
    ]);
  });

  it("says when the journal refuses, and goes on with the next report", async () => {
    const { history, fail } = journal();
    const reasons: unknown[] = [];
    const { rows, told } = rowsOf(history, reasons);
    const context = contextOf("m0");
    fail.reason = new Error("a lane differs");
    rows.add(report(1, 0), context);
    await settled();
    expect(reasons).toEqual([fail.reason]);
    fail.reason = null;
    rows.add(report(1, 0, 1), context);
    await settled();
    expect(told.at(-1)?.step).toBe(1);
  });
});

describe("what steps take", () => {
  it("counts each step once, by its slowest rank, and goes on from what is known", async () => {
    const { history } = journal();
    const { rows, told } = rowsOf(history);
    const timed = (step: number, lane: number, seconds: number, more = {}): StepReport => ({
      ...report(step, lane),
      seconds,
      sections: SectionSeconds.fromPartial({ forwardBackward: seconds }),
      rssBytes: BigInt(Math.round(seconds * 100)),
      ...more,
    });
    const context = contextOf("m0");
    rows.add(timed(1, 0, 2, { stallSeconds: 0.5 }), context);
    rows.add(timed(1, 1, 3, { stallSeconds: 0.25 }), context);
    rows.add(timed(2, 0, 1), context);
    rows.add(timed(2, 1, 0), context); // told again after a regroup: took no time
    await settled();
    expect(told.flatMap(({ stepSeconds }) => stepSeconds)).toEqual([3, 1]);
    const facts = told.at(-1)?.facts ?? null;
    expect(facts?.measured).toMatchObject({
      steps: 2,
      seconds: 4,
      stallSeconds: 0.5,
      peakBytes: 300,
      sections: { forward_backward: 4, reduce: 0 },
    });
    const { rows: later, told: toldLater } = rowsOf(history);
    later.add(timed(3, 0, 1), { ...context, known: { step: 2, facts } });
    later.add(timed(3, 1, 2), { ...context, known: { step: 2, facts } });
    await settled();
    expect(toldLater.at(-1)?.facts?.measured).toMatchObject({
      steps: 3,
      seconds: 6,
      peakBytes: 300,
    });
  });
});
