/** What reports say a step took, added up over the steps of a job. Each step counts once, by its slowest rank. */
import {
  forEach,
  type MeasureView,
  STEP_SECTIONS,
  type StepSection,
} from "@shardwright/job/accounts";

/** One rank's share of one step. */
export interface RankStep {
  readonly seconds: number;
  readonly stallSeconds: number;
  readonly sections: Readonly<Record<StepSection, number>>;
  readonly peakBytes: number;
}

const NO_SECTIONS = forEach(STEP_SECTIONS, () => 0);

export const NOTHING_MEASURED: MeasureView = {
  steps: 0,
  seconds: 0,
  stallSeconds: 0,
  sections: NO_SECTIONS,
  peakBytes: 0,
};

export const NO_RANK_STEP: RankStep = {
  seconds: 0,
  stallSeconds: 0,
  sections: NO_SECTIONS,
  peakBytes: 0,
};

/** Of two ranks, or of two reports of one: time of the slower, the longer stall, the larger process. */
export function slower(a: RankStep, b: RankStep): RankStep {
  const slowest = b.seconds > a.seconds ? b : a;
  return {
    seconds: slowest.seconds,
    sections: slowest.sections,
    stallSeconds: Math.max(a.stallSeconds, b.stallSeconds),
    peakBytes: Math.max(a.peakBytes, b.peakBytes),
  };
}

/** The measure with one more step in it. */
export function addStep(measure: MeasureView, step: RankStep): MeasureView {
  const sections = forEach(STEP_SECTIONS, (name) => measure.sections[name] + step.sections[name]);
  return {
    steps: measure.steps + (step.seconds > 0 ? 1 : 0),
    seconds: measure.seconds + step.seconds,
    stallSeconds: measure.stallSeconds + step.stallSeconds,
    sections,
    peakBytes: Math.max(measure.peakBytes, step.peakBytes),
  };
}
