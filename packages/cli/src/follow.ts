import { setTimeout as sleep } from "node:timers/promises";
import { isFinal, type JobView } from "@shardwright/job/phase";
import type { Event } from "@shardwright/proto/gen/shardwright/v1/event";
import { eventLine } from "./event-line.ts";
import { EXIT, type ExitCode, failureOf } from "./exit.ts";
import type { Io } from "./io.ts";
import { visible } from "./render/escape.ts";
import { fitted, progressLine } from "./render/progress.ts";
import type { Jobs } from "./rpc/jobs.ts";

// Backoff of a lost connection.
const RETRY_MS_FIRST = 500;
const RETRY_MS_MAX = 10_000;
// Without a terminal: one line per event, or per this.
const QUIET_MS = 30_000;

/**
 * A stream that survives the control plane: `open` is called again after a loss, with backoff; `say` hears of it
 * once. Ends when `open`'s stream ends cleanly and `isOver` holds, or at `signal`.
 */
export async function* resuming<T>(
  open: () => AsyncIterable<T>,
  control: {
    readonly say: (line: string) => void;
    readonly isOver: () => boolean;
    readonly signal: AbortSignal;
  },
): AsyncGenerator<T, void, void> {
  const link = lossTeller(control.say);
  while (!control.signal.aborted) {
    try {
      for await (const item of open()) {
        link.works();
        yield item;
      }
      if (control.isOver()) return;
    } catch (error) {
      link.lost(error);
    }
    await sleep(link.waitMs(), undefined, { signal: control.signal }).catch(() => undefined);
  }
}

/** Says once that the connection is lost, and once that it is back; how long to wait grows meanwhile. */
function lossTeller(say: (line: string) => void): {
  works(): void;
  lost(error: unknown): void;
  waitMs(): number;
} {
  let wait = RETRY_MS_FIRST;
  let isLost = false;
  return {
    works: () => {
      if (isLost) say("connected again");
      isLost = false;
      wait = RETRY_MS_FIRST;
    },
    lost: (error) => {
      const failure = failureOf(error);
      if (failure.exit !== EXIT.unreachable) throw error;
      if (!isLost) say(`connection lost (${failure.what}); the job goes on, trying again`);
      isLost = true;
    },
    waitMs: () => {
      const now = wait;
      wait = Math.min(RETRY_MS_MAX, wait * 2);
      return now;
    },
  };
}

/**
 * Every state of one job until `signal`; null when it was deleted. Starts with the job as it is, so a missed
 * change is harmless.
 */
export async function* watchJob(
  jobs: Jobs,
  name: string,
  control: { readonly say: (line: string) => void; readonly signal: AbortSignal },
): AsyncGenerator<JobView | null, void, void> {
  const open = async function* (): AsyncGenerator<JobView | null, void, void> {
    yield await jobs.get(name);
    for await (const { change, job } of jobs.watch(name, 0n, control.signal)) {
      if (change === "deleted") yield null;
      else if (job !== null) yield job;
    }
  };
  yield* resuming(open, { ...control, isOver: () => false });
}

/** Exit code of a job that has ended. */
export function exitOf(job: JobView): ExitCode {
  if (job.status.state === "Complete") return EXIT.done;
  return job.status.state === "Failed" ? EXIT.jobFailed : EXIT.jobCancelled;
}

export interface FollowOptions {
  readonly io: Io;
  /** 0 = without end. */
  readonly timeoutMs: number;
  /** Progress and events; otherwise only how it ended. */
  readonly shown: boolean;
}

/** Follows a job to its end and returns the exit code of how it ended. Never affects the job. */
export async function followJob(
  jobs: Jobs,
  name: string,
  options: FollowOptions,
): Promise<ExitCode> {
  const { io, timeoutMs, shown } = options;
  io.onInterrupt(`job ${name} keeps running; re-attach: ${io.program} logs -f ${name}`);
  const stop = new AbortController();
  const timer = timeoutMs > 0 ? setTimeout(() => stop.abort("timeout"), timeoutMs) : undefined;
  const view = progressView(io);
  const control = { say: view.say, signal: stop.signal };
  const events = shown ? showEvents(jobs, name, { ...control, view }) : Promise.resolve();
  try {
    for await (const job of watchJob(jobs, name, control)) {
      if (job === null) return gone(view, name);
      if (shown) view.update(job);
      if (isFinal(job.status.state)) return ended(view, job, io);
    }
    view.say(`timeout: job ${name} has not ended; it goes on`);
    return EXIT.timeout;
  } finally {
    clearTimeout(timer);
    stop.abort();
    await events;
    view.end();
    io.onInterrupt(null);
  }
}

function gone(view: View, name: string): ExitCode {
  view.say(`job ${name} was deleted`);
  return EXIT.jobCancelled;
}

function ended(view: View, job: JobView, io: Io): ExitCode {
  const { state, reason, progress, result } = job.status;
  const steps = progress === null ? "" : ` after ${progress.step} steps`;
  view.say(`job ${job.name} is ${state}${steps}${reason.sentence ? `: ${reason.sentence}` : ""}`);
  for (const { format, location } of result?.artifacts ?? []) view.say(`${format}: ${location}`);
  if (state === "Failed") view.say(`  next: ${io.program} explain ${job.name}`);
  return exitOf(job);
}

interface View {
  /** A line that stays. */
  say(line: string): void;
  update(job: JobView): void;
  /** Takes the live line away. */
  end(): void;
}

/** On a terminal one live line below the lines that stay; otherwise a line when there is news, or every 30 s. */
function progressView(io: Io): View {
  let live = "";
  let printedMs = 0;
  let printedState = "";
  const clear = (): void => {
    if (live !== "") io.err("\r\u001b[K");
  };
  const draw = (): void => {
    if (live !== "") io.err(fitted(live, io.columns));
  };
  return {
    end: () => {
      clear();
      live = "";
    },
    say: (line) => {
      clear();
      io.err(`${visible(line)}\n`);
      live = io.stderrIsTty ? live : "";
      draw();
    },
    update: (job) => {
      const line = visible(progressLine(job, io.now()));
      if (io.stderrIsTty) {
        clear();
        live = isFinal(job.status.state) ? "" : line;
        draw();
      } else if (job.status.state !== printedState || io.now() - printedMs >= QUIET_MS) {
        io.err(`${line}\n`);
        printedMs = io.now();
        printedState = job.status.state;
      }
    },
  };
}

/** Prints the events that happen while following; what happened before is `shardctl events`. */
async function showEvents(
  jobs: Jobs,
  name: string,
  control: { readonly view: View; readonly signal: AbortSignal },
): Promise<void> {
  const { view, signal } = control;
  let after = 0n;
  const open = (): AsyncIterable<Event> => jobs.events(name, { follow: true, after }, signal);
  try {
    // The watch of the job says what happens to the connection; once is enough.
    for await (const event of resuming(open, {
      say: () => undefined,
      isOver: () => false,
      signal,
    })) {
      after = event.sequence;
      view.say(eventLine(event));
    }
  } catch {
    // Deleted meanwhile, or refused: the watch of the job tells.
  }
}
