import { Fault, type FaultKind } from "@shardwright/job/faults";

/** Exit codes: frozen, scripts stand on them. */
export const EXIT = {
  done: 0,
  error: 1,
  usage: 2,
  jobFailed: 3,
  jobCancelled: 4,
  timeout: 5,
  doesNotFit: 6,
  unreachable: 7,
  denied: 8,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What each code means, for `--help` and the reference. */
export const EXIT_MEANING: Readonly<Record<ExitCode, string>> = {
  0: "done; when following or waiting: the job is Complete; stdout closed by its reader",
  1: "server or unexpected error; `wait`: the job ended in another state; `verify`: damage found",
  2: "usage or invalid input (every problem is listed with its path)",
  3: "the job Failed",
  4: "the job was Cancelled",
  5: "`--timeout` passed",
  6: "the job does not fit (the plan is refused)",
  7: "the control plane is not reachable (trying again makes sense)",
  8: "not authenticated, or not allowed",
  130: "interrupted by Ctrl-C; a job that was followed goes on",
};

/** A verb's own "no": what is wrong, why, and what to type next. Shown as three lines, never as a stack. */
export class Refusal extends Error {
  readonly exit: ExitCode;
  readonly why: readonly string[];
  readonly next: string | null;

  constructor(
    exit: ExitCode,
    what: string,
    details: { why?: string | readonly string[]; next?: string } = {},
  ) {
    super(what);
    this.name = "Refusal";
    this.exit = exit;
    this.why = typeof details.why === "string" ? [details.why] : (details.why ?? []);
    this.next = details.next ?? null;
  }
}

/** A failure as a person and a script see it. */
export interface Failure {
  readonly exit: ExitCode;
  readonly what: string;
  readonly why: readonly string[];
  readonly next: string | null;
}

const EXIT_OF_FAULT: Readonly<Record<FaultKind, ExitCode>> = {
  invalid: EXIT.usage,
  unauthenticated: EXIT.denied,
  forbidden: EXIT.denied,
  not_found: EXIT.error,
  conflict: EXIT.error,
  exhausted: EXIT.error,
  unavailable: EXIT.unreachable,
  internal: EXIT.error,
};

const NEXT_OF_FAULT: Readonly<Partial<Record<FaultKind, string>>> = {
  unauthenticated: "name the token of that control plane with --token-file",
  not_found: "shardctl get jobs",
  unavailable: "shardctl up --detach    (or name a running one with --data-dir or --server)",
  internal: "look into the log of the control plane (DATA_DIR/up.log)",
};

/** Anything that was thrown, as what, why and next. */
export function failureOf(reason: unknown): Failure {
  if (isRefusal(reason)) {
    return { exit: reason.exit, what: reason.message, why: reason.why, next: reason.next };
  }
  const fault = asFault(reason);
  if (fault !== null) {
    const why = fault.complaints.map(({ path, problem }) =>
      path ? `${path}: ${problem}` : problem,
    );
    const exit = isDoesNotFit(fault) ? EXIT.doesNotFit : EXIT_OF_FAULT[fault.kind];
    return { exit, what: fault.message, why, next: NEXT_OF_FAULT[fault.kind] ?? null };
  }
  const what = reason instanceof Error ? reason.message : String(reason);
  return {
    exit: EXIT.error,
    what,
    why: [],
    next: "run it again with -v 6 to see where it happened",
  };
}

// By shape, not by class: verbs outside the bundle have classes of their own.
function isRefusal(reason: unknown): reason is Refusal {
  return reason instanceof Error && reason.name === "Refusal" && "exit" in reason;
}

function asFault(reason: unknown): Pick<Fault, "kind" | "message" | "complaints"> | null {
  if (reason instanceof Fault) return reason;
  const candidate = reason as Partial<Fault> | null;
  return candidate?.name === "Fault" &&
    candidate.kind !== undefined &&
    Array.isArray(candidate.complaints)
    ? (candidate as Fault)
    : null;
}

/** The control plane refuses a job whose plan does not fit with this path among its complaints. */
function isDoesNotFit(fault: Pick<Fault, "complaints">): boolean {
  return fault.complaints.some((complaint) => complaint.path === "plan");
}
