/** What a caller can do about a failed request; every surface (gRPC, HTTP, OpenAI, exit code) answers each kind. */
export const FAULT_KINDS = [
  "invalid",
  "unauthenticated",
  "forbidden",
  "not_found",
  "conflict",
  "exhausted",
  "unavailable",
  "internal",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** One thing that is wrong with what was sent; `path` is a JSON path such as `spec.tuning.r`, or `line 12`. */
export interface Complaint {
  readonly path: string;
  readonly problem: string;
}

/** What a fault may carry besides its message. */
export interface FaultDetails {
  readonly complaints?: readonly Complaint[];
  readonly cause?: unknown;
}

/** The only way a request may fail. Thrown in shells; cores return unions with a reason. */
export class Fault extends Error {
  readonly kind: FaultKind;
  readonly complaints: readonly Complaint[];

  constructor(kind: FaultKind, message: string, details: FaultDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "Fault";
    this.kind = kind;
    this.complaints = details.complaints ?? [];
  }

  /** A Fault stays itself; anything else is a bug and becomes `internal` outside, with its cause kept for the log. */
  static from(reason: unknown): Fault {
    return reason instanceof Fault
      ? reason
      : new Fault("internal", "internal error", { cause: reason });
  }
}

/** Why something is not so: `code` in CamelCase for machines, `sentence` with the numbers for people. */
export interface Reason {
  readonly code: string;
  readonly sentence: string;
}
