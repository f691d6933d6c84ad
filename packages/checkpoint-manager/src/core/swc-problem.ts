/** Everything a reader of SWC/1 may say about a checkpoint. */
export const SWC_CODES = [
  "SWC_NO_CHECKPOINT",
  "SWC_UNSUPPORTED_VERSION",
  "SWC_UNKNOWN_FEATURE",
  "SWC_UNKNOWN_KIND",
  "SWC_BAD_RECORD",
  "SWC_BAD_HEADER",
  "SWC_MISSING_FILE",
  "SWC_SIZE_MISMATCH",
  "SWC_MISSING_CHECKSUM",
  "SWC_CORRUPT_BLOCK",
  "SWC_CORRUPT_FILE",
  "SWC_COVERAGE",
  "SWC_SCHEMA_MISMATCH",
  "SWC_BASE_MISSING",
  "SWC_BASE_MISMATCH",
  "SWC_QUARANTINED",
  "SWC_STORE_UNSAFE",
  "SWC_SAVE_DEADLINE",
  "SWC_FENCED",
  "SWC_REGISTER_LOST",
  "SWC_EXPORT_REFUSED",
] as const;
export type SwcCode = (typeof SWC_CODES)[number];

/** One thing that is wrong, naming file and bytes. */
export interface Problem {
  readonly code: SwcCode;
  readonly sentence: string;
}

/** The value, or everything that is wrong. */
export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: Problem };

/** A refusal as a Checked. */
export function refuse(
  code: SwcCode,
  sentence: string,
): { readonly ok: false; readonly problem: Problem } {
  return { ok: false, problem: { code, sentence } };
}
