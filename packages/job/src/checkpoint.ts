/** Words of checkpoint format SWC/1 that more than its keeper uses; its JSON objects are checkpoint-manager's. */

/** Version of the format; a reader refuses another one. */
export const SWC_VERSION = 1;

/** Names one try to save a step: `00000000000000001200-0000000007-000`. Sorted as text = sorted by step. */
export interface CommitKey {
  readonly step: number;
  readonly generation: number;
  readonly try: number;
}

const COMMIT_KEY = /^(\d{20})-(\d{10})-(\d{3})$/;

/** The key as it stands in paths; step and generation must be safe non-negative integers. */
export function commitKeyText(key: CommitKey): string {
  return [
    String(key.step).padStart(20, "0"),
    String(key.generation).padStart(10, "0"),
    String(key.try).padStart(3, "0"),
  ].join("-");
}

/** null when the text is no commit key, or its step is beyond 2^53. */
export function readCommitKey(text: string): CommitKey | null {
  const match = COMMIT_KEY.exec(text);
  if (!match) return null;
  const [step, generation, attempt] = match.slice(1).map(Number);
  if (step === undefined || generation === undefined || attempt === undefined) return null;
  return Number.isSafeInteger(step) ? { step, generation, try: attempt } : null;
}

/** Why a save was made. */
export const SAVE_TRIGGERS = [
  "periodic",
  "final",
  "epoch",
  "pause",
  "preempt",
  "manual",
  "import",
] as const;
