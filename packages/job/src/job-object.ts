/**
 * The job as `get -o json` gives it: the same object as the Kubernetes resource. Scripts stand on these names.
 * Derived floats are strings, as Kubernetes does it; parts that a job does not have yet are left out.
 */
import {
  forEach,
  goodputOf,
  LEDGER_CATEGORIES,
  type LedgerView,
  type MeasureView,
  STEP_SECTIONS,
  type TalliesView,
} from "./accounts.ts";
import { API_VERSION, KIND, toPlainDocument } from "./parse.ts";
import type { EvaluationView, JobStatusView, JobView, PlanView, ProgressView } from "./phase.ts";

type PlainObject = Record<string, unknown>;

/** Everything of a job; parsing the object gives the same document. */
export function jobToObject(view: JobView): PlainObject {
  const { labels, annotations } = view.document.metadata;
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: {
      name: view.name,
      namespace: view.tenant,
      uid: view.uid,
      resourceVersion: String(view.revision),
      creationTimestamp: timeText(view.createdMs),
      ...(Object.keys(labels).length > 0 ? { labels: { ...labels } } : {}),
      ...(Object.keys(annotations).length > 0 ? { annotations: { ...annotations } } : {}),
    },
    spec: toPlainDocument(view.document).spec,
    status: statusToObject(view),
  };
}

/** RFC 3339 in UTC, to the second. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Nine significant digits: more than a loss in single precision has. */
const FLOAT_DIGITS = 9;

/** A derived float as text: `1.234`, `1900`, `0.6`; without an exponent where JavaScript needs none. */
export function floatText(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(FLOAT_DIGITS))) : String(value);
}

function statusToObject(view: JobView): PlainObject {
  const { status } = view;
  return {
    state: status.state,
    reason: status.reason.code,
    message: status.reason.sentence,
    conditions: status.conditions.map((condition) => ({
      type: condition.type,
      status: condition.status,
      reason: condition.reason.code,
      message: condition.reason.sentence,
      lastTransitionTime: timeText(condition.lastTransitionMs),
    })),
    ...(status.plan ? { plan: planToObject(status.plan) } : {}),
    ...(status.membership
      ? { membership: { ...status.membership, selector: `shardwright.dev/job=${view.name}` } }
      : {}),
    ...(status.progress ? { progress: progressToObject(status.progress) } : {}),
    recoveries: recoveriesToObject(status),
    ...(status.ledger.heldMs > 0
      ? { ledger: ledgerToObject(status.ledger), tallies: talliesToObject(status.tallies) }
      : {}),
    ...(status.measure ? { measured: measureToObject(status.measure) } : {}),
    ...(status.checkpoint
      ? {
          checkpoint: {
            step: status.checkpoint.step,
            commit: status.checkpoint.commit,
            time: timeText(status.checkpoint.committedMs),
          },
        }
      : {}),
    ...(status.evaluations.length > 0
      ? { evaluation: evaluationToObject(status.evaluations) }
      : {}),
    ...(status.result
      ? {
          result: {
            ...status.result,
            artifacts: status.result.artifacts.map((one) => ({ ...one })),
          },
        }
      : {}),
    ...(view.finishedMs === null ? {} : { finishedTime: timeText(view.finishedMs) }),
  };
}

/** The plan for `status.plan` and `plan -o json`. */
export function planToObject(plan: PlanView): PlainObject {
  return {
    fits: plan.fits,
    zeroStage: plan.zeroStage,
    lanes: plan.recipe.lanes,
    microBatch: plan.recipe.microBatchRows,
    members: plan.members,
    ranks: plan.ranks,
    ranksPerMember: plan.ranksPerMember,
    blockElements: plan.blockElements,
    trainableElements: plan.trainableElements,
    copies: plan.copies,
    peakBytesPredicted: plan.peakBytesPredicted,
    deviceBytes: plan.deviceBytes,
    memoryBytes: { ...plan.memory },
    stepSecondsPredicted: floatText(plan.stepSecondsPredicted),
    totalStepsPredicted: plan.totalStepsPredicted,
    hoursPredicted: floatText(plan.hoursPredicted),
    saveEverySteps: plan.saveEverySteps,
    snapshotEverySteps: plan.snapshotEverySteps,
    recipe: { ...plan.recipe },
    rejected: plan.rejected.map(({ what, code, sentence }) => ({ what, code, sentence })),
    explanation: [...plan.explanation],
    warnings: [...plan.warnings],
  };
}

function progressToObject(progress: ProgressView): PlainObject {
  return {
    step: progress.step,
    totalSteps: progress.totalSteps,
    loss: floatText(progress.loss),
    gradNorm: floatText(progress.gradNorm),
    learningRate: floatText(progress.learningRate),
    tokensPerSecond: floatText(progress.tokensPerSecond),
    trainedTokens: progress.trainedTokens,
    processedTokens: progress.processedTokens,
    stepSeconds: floatText(progress.stepSeconds),
    ...(progress.etaMs === null ? {} : { etaTime: timeText(progress.etaMs) }),
    ...(progress.lastStepMs === null ? {} : { lastStepTime: timeText(progress.lastStepMs) }),
  };
}

function recoveriesToObject({ recoveries }: JobStatusView): PlainObject {
  const { count, stepsRedone, last } = recoveries;
  return {
    count,
    stepsRedone,
    ...(last ? { last: { cause: last.cause, seconds: floatText(last.seconds) } } : {}),
  };
}

/** Rank-milliseconds are exact integers; `goodput` counts unsettled training as productive. */
function ledgerToObject(ledger: LedgerView): PlainObject {
  const goodput = goodputOf(ledger);
  return {
    rankMilliseconds: forEach(LEDGER_CATEGORIES, (name) => ledger.byCategory[name].ms),
    unsettledRankMilliseconds: ledger.unsettledMs,
    heldRankMilliseconds: ledger.heldMs,
    ...(goodput === null ? {} : { goodput: floatText(goodput) }),
    ...(ledger.bookedMs === 0 ? {} : { bookedTime: timeText(ledger.bookedMs) }),
  };
}

function talliesToObject({ lastSave, ...counts }: TalliesView): PlainObject {
  return {
    ...counts,
    ...(lastSave === null
      ? {}
      : { lastSave: { bytes: lastSave.bytes, seconds: floatText(lastSave.seconds) } }),
  };
}

function measureToObject(measure: MeasureView): PlainObject {
  const { steps, seconds, sections, stallSeconds, peakBytes } = measure;
  return {
    steps,
    meanStepSeconds: floatText(seconds / Math.max(1, steps)),
    sectionSeconds: forEach(STEP_SECTIONS, (name) => floatText(sections[name])),
    stallSeconds: floatText(stallSeconds),
    peakBytes,
  };
}

function evaluationToObject(evaluations: readonly EvaluationView[]): PlainObject {
  const metrics = new Map<string, Map<string, string>>();
  for (const { metric, variant, value } of evaluations) {
    const variants = metrics.get(metric) ?? new Map<string, string>();
    metrics.set(metric, variants.set(variant, floatText(value)));
  }
  return Object.fromEntries(
    [...metrics].map(([metric, variants]) => [metric, Object.fromEntries(variants)]),
  );
}
