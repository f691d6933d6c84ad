/** Named presets: plain parts of a spec. Explicit fields win; what is stored is the expansion. */

type PlainObject = Readonly<Record<string, unknown>>;

/** Name → what it sets. */
export const PRESETS: Readonly<Record<string, PlainObject>> = {
  // A first look in minutes: a small adapter, one pass, at most a hundred steps.
  quick: {
    tuning: { method: "lora", r: 8, alpha: 16 },
    train: { maxSteps: 100, schedule: "constant_with_warmup" },
  },
  // The adapter that reviewers of LoRA find on a par with full tuning, and three patient passes.
  quality: {
    tuning: { method: "lora", r: 64, alpha: 128 },
    train: { epochs: 3, schedule: "cosine", warmupRatio: 0.05, finalRateRatio: 0.05 },
  },
  // Every weight is trained, with the rates that keep what the base knows.
  full: {
    tuning: { method: "full" },
    train: { epochs: 2, schedule: "cosine", warmupRatio: 0.03, finalRateRatio: 0.1 },
  },
};

/** Of two ways to say one thing, a user's word for one silences the preset's word for the other. */
const EXCLUSIVE: Readonly<Record<string, string>> = {
  epochs: "maxSteps",
  maxSteps: "epochs",
  warmupSteps: "warmupRatio",
  warmupRatio: "warmupSteps",
};

/**
 * The preset's fields under the user's: objects are merged, everything else is the user's where the user wrote
 * it (an explicit null counts as written).
 */
export function withPreset(preset: PlainObject, written: PlainObject): PlainObject {
  const merged: Record<string, unknown> = { ...written };
  for (const [key, value] of Object.entries(preset)) {
    const own = Object.hasOwn(written, key) ? written[key] : undefined;
    if (isObject(value) && (isObject(own) || own === undefined)) {
      merged[key] = withPreset(value, own ?? {});
    } else if (own === undefined && !isSilenced(key, written)) {
      merged[key] = value;
    }
  }
  return merged;
}

function isSilenced(key: string, written: PlainObject): boolean {
  const other = EXCLUSIVE[key];
  return other !== undefined && written[other] !== undefined && written[other] !== null;
}

function isObject(value: unknown): value is PlainObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
