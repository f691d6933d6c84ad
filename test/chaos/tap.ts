import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../e2e/harness.ts";
import type { Moment, When } from "./schedule.ts";

/** A job as its journal has it this instant. */
export interface JobNow {
  readonly name: string;
  readonly uid: string;
  readonly phase: string;
  readonly step: number;
  readonly final: number;
  readonly prepared: number | null;
  readonly committed: number | null;
  /** Members of the prepared generation that hold their blocks. */
  readonly ready: number | null;
  /** running, pausing or broken. */
  readonly mode: string | null;
  /** Cause of the fault that is being recovered from. */
  readonly fault: string | null;
  /** Writers whose files are on their way to the checkpoint-manager. */
  readonly deciding: number;
  /** Rank processes of the committed generation. */
  readonly pids: readonly number[];
  /** The save whose writers write. */
  readonly save: string | null;
}

export interface EventNow {
  readonly job: string;
  readonly timeMs: number;
  readonly code: string;
  readonly sentence: string;
  readonly step: number;
  readonly generation: number;
}

type Line = ({ readonly kind: "job" } & JobNow) | ({ readonly kind: "event" } & EventNow);

const POLL_MS = 4;
// A moment may never come again in a job that runs well; the deed is done then anyhow.
const MOMENT_MS_MAX = 2_500;

/** What happens in a data directory, within milliseconds, whoever is alive to say so. */
export class Tap {
  readonly events: EventNow[] = [];
  readonly #jobs = new Map<string, JobNow>();
  readonly #moments = new Map<string, number>();
  readonly #faults = new Map<string, Set<string>>();
  readonly #staged = new Set<string>();
  readonly #child: ChildProcess;

  constructor(dataDir: string) {
    const script = join(ROOT, "test/chaos/tap.mjs");
    const database = join(dataDir, "control-plane.sqlite");
    this.#child = spawn(join(ROOT, "node_modules/.bin/node"), [script, database], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_NO_WARNINGS: "1" },
    });
    if (this.#child.stdout === null) throw new Error("a pipe was asked for");
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#hear(line));
  }

  close(): void {
    this.#child.kill();
  }

  job(name: string): JobNow | undefined {
    return this.#jobs.get(name);
  }

  eventsOf(name: string): readonly EventNow[] {
    return this.events.filter(({ job }) => job === name);
  }

  /** Causes that were seen so far. */
  faultsOf(name: string): Set<string> {
    return this.#faults.get(name) ?? new Set();
  }

  /** True when it is due, or its moment did not come; false when the job ended before. */
  async due(name: string, when: When): Promise<boolean> {
    const isDue = this.#condition(name, when);
    let until = Number.POSITIVE_INFINITY;
    while (!isDue()) {
      if (this.job(name)?.final === 1) return false;
      if (isUnderWay(this.job(name))) until = Math.min(until, Date.now() + MOMENT_MS_MAX);
      if (when.at === "moment" && Date.now() > until) break;
      await sleep(POLL_MS);
    }
    await sleep(when.plusMs);
    return this.job(name)?.final !== 1;
  }

  #condition(name: string, when: When): () => boolean {
    switch (when.at) {
      case "ms":
        return () => true;
      case "step":
        return () => (this.job(name)?.step ?? 0) >= when.step;
      case "moment": {
        const from = this.#count(name, when.moment);
        return () => this.#count(name, when.moment) > from + when.skip;
      }
      default:
        return when satisfies never;
    }
  }

  #count(name: string, moment: Moment): number {
    if (moment === "staged") this.#lookForStaged(name);
    return this.#moments.get(`${name} ${moment}`) ?? 0;
  }

  #note(name: string, moment: Moment): void {
    this.#moments.set(`${name} ${moment}`, (this.#moments.get(`${name} ${moment}`) ?? 0) + 1);
  }

  #lookForStaged(name: string): void {
    for (const file of stagedFiles(this.job(name)?.uid)) {
      if (this.#staged.has(file)) continue;
      this.#staged.add(file);
      this.#note(name, "staged");
    }
  }

  #hear(line: string): void {
    const said = JSON.parse(line) as Line;
    if (said.kind === "event") {
      this.events.push(said);
      if (said.code === "MemberConnected") this.#note(said.job, "connected");
      if (said.code === "CheckpointCommitted") this.#note(said.job, "saved");
      return;
    }
    const before = this.#jobs.get(said.name);
    this.#jobs.set(said.name, said);
    const isNew = (key: "prepared" | "committed" | "save"): boolean =>
      said[key] !== null && said[key] !== (before?.[key] ?? null);
    if (isNew("prepared")) this.#note(said.name, "preparing");
    if (isNew("committed")) this.#note(said.name, "committed");
    if (isNew("save")) this.#note(said.name, "saving");
    const begins = (moment: Moment, is: (job: JobNow) => boolean): void => {
      if (is(said) && !(before !== undefined && is(before))) this.#note(said.name, moment);
    };
    begins("adopting", ({ ready }) => (ready ?? 0) > 0);
    begins("deciding", ({ deciding }) => deciding > 0);
    begins("pausing", ({ mode }) => mode === "pausing");
    begins("recovering", ({ fault }) => fault !== null);
    if (said.fault !== null) this.#faults.set(said.name, this.faultsOf(said.name).add(said.fault));
  }
}

function isUnderWay(job: JobNow | undefined): boolean {
  return job?.committed != null;
}

/** Files in memory that belong to a job. */
export function stagedFiles(uid: string | undefined): readonly string[] {
  if (uid === undefined) return [];
  return readdirSync("/dev/shm").filter((file) => file.startsWith(`shardwright-${uid}-`));
}
