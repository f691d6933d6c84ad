/**
 * Ratios of measured to predicted, learnt from dry runs and first steps and remembered per (architecture,
 * torch version, device). A plan made with them says so.
 */

/** One remembered pair of ratios. */
export interface CalibrationEntry {
  readonly architecture: string;
  readonly torchVersion: string;
  readonly deviceType: string;
  /** Measured peak bytes ÷ predicted peak bytes. */
  readonly memoryRatio: number;
  /** Measured seconds of a step ÷ predicted seconds. */
  readonly speedRatio: number;
  /** Observations the ratios stand on. */
  readonly observations: number;
}

export interface Calibration {
  readonly entries: readonly CalibrationEntry[];
}

/** What one run measured, beside what its plan had said. */
export interface Observation {
  readonly architecture: string;
  readonly torchVersion: string;
  readonly deviceType: string;
  readonly peakBytesPredicted: number;
  readonly peakBytesMeasured: number;
  readonly stepSecondsPredicted: number;
  readonly stepSecondsMeasured: number;
}

export interface CalibrationKey {
  readonly architecture: string;
  readonly deviceType: string;
}

/** Off by more than this, the first measured step is a reason to plan again, once. */
export const REPLAN_THRESHOLD = 0.1;
/** An observation outside these bounds is a broken measurement (a suspended laptop, a page-cache count), not a ratio. */
const RATIO_MIN = 0.1;
const RATIO_MAX = 10;
/** Weight of the newest observation once there are several: old machines fade out of the average. */
const NEWEST_WEIGHT_MIN = 0.2;

export const NO_CALIBRATION: Calibration = { entries: [] };

/** The calibration with one more observation in it; an impossible measurement leaves it as it was. */
export function learn(calibration: Calibration, seen: Observation): Calibration {
  const memory = seen.peakBytesMeasured / seen.peakBytesPredicted;
  const speed = seen.stepSecondsMeasured / seen.stepSecondsPredicted;
  if (!isPlausible(memory) || !isPlausible(speed)) return calibration;
  const others = calibration.entries.filter((entry) => !isSameRun(entry, seen));
  const known = calibration.entries.find((entry) => isSameRun(entry, seen));
  const observations = (known?.observations ?? 0) + 1;
  const newest = Math.max(1 / observations, NEWEST_WEIGHT_MIN);
  return {
    entries: [
      ...others,
      {
        architecture: seen.architecture,
        torchVersion: seen.torchVersion,
        deviceType: seen.deviceType,
        // Memory keeps the worst ratio seen: an average would promise room that some runs did not have.
        memoryRatio: Math.max(known?.memoryRatio ?? 0, memory),
        speedRatio: (known?.speedRatio ?? speed) * (1 - newest) + speed * newest,
        observations,
      },
    ],
  };
}

/** The ratios for a model family on a device type; the most observed entry wins, null when nothing was seen. */
export function ratiosFor(
  calibration: Calibration | null,
  key: CalibrationKey,
): CalibrationEntry | null {
  const matching = (calibration?.entries ?? []).filter(
    (entry) => entry.architecture === key.architecture && entry.deviceType === key.deviceType,
  );
  return matching.reduce<CalibrationEntry | null>(
    (best, entry) => (best === null || entry.observations > best.observations ? entry : best),
    null,
  );
}

/** Whether what was measured is far enough from the plan to plan again. */
export function shouldReplan(predicted: number, measured: number): boolean {
  return Math.abs(measured - predicted) > REPLAN_THRESHOLD * predicted;
}

function isPlausible(ratio: number): boolean {
  return ratio >= RATIO_MIN && ratio <= RATIO_MAX;
}

function isSameRun(entry: CalibrationEntry, seen: Observation): boolean {
  return (
    entry.architecture === seen.architecture &&
    entry.torchVersion === seen.torchVersion &&
    entry.deviceType === seen.deviceType
  );
}
