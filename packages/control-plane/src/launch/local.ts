import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type ClusterSnapshot, type LocalMachine, localSnapshot } from "@shardwright/scheduler";
import type { Clock } from "@shardwright/service/clock";
import type { Launcher, MemberLaunch, RunningMember } from "../ports.ts";
import {
  findProcess,
  forgetRecord,
  type LocalProcess,
  type LocalProcessPlan,
  type ProcessEnd,
  startProcess,
  stopProcess,
} from "./local-process.ts";
import { isRunning } from "./process-table.ts";
import {
  ensureRendezvousStore,
  type RendezvousStore,
  stopRendezvousStore,
} from "./rendezvous-store.ts";

export interface LocalLauncherOptions {
  readonly dataDirectory: string;
  /** Normally `python -m shardwright_trainer.agent.main`. */
  readonly agentCommand: readonly [string, ...string[]];
  /** Normally `python -m shardwright_trainer.agent.store`. */
  readonly storeCommand: readonly [string, ...string[]];
  /** The whole environment of members; no secret belongs in it. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where members connect to; asked for at each launch. */
  controlPlaneAddress(): string;
  readonly machine: LocalMachine;
  readonly clock: Clock;
}

interface Known {
  readonly member: RunningMember;
  readonly process: LocalProcess;
  readonly plan: LocalProcessPlan;
}

/** What a member said last is in the last kilobytes of its log. */
const LOG_TAIL_BYTES = 4_096;
const SENTENCE_CHARS_MAX = 400;

/** Members as child processes of this machine; finds those that an earlier control plane started. */
export function createLocalLauncher(options: LocalLauncherOptions): Launcher {
  return new LocalLauncher(options);
}

const MEMORY_FOLDER = "/dev/shm";

/** Staged saves of a killed agent: nobody else frees them, and they are memory. */
function sweepStaged(uid: string): void {
  if (!existsSync(MEMORY_FOLDER)) return;
  for (const name of readdirSync(MEMORY_FOLDER)) {
    if (name.startsWith(`shardwright-${uid}-`)) rmSync(join(MEMORY_FOLDER, name), { force: true });
  }
}

class LocalLauncher implements Launcher {
  private readonly options: LocalLauncherOptions;
  private readonly known = new Map<string, Known>();
  private readonly starting = new Map<string, Promise<number>>();
  private listener: (member: RunningMember, sentence: string) => void = () => undefined;
  private store: Promise<RendezvousStore> | undefined;
  private isClosed = false;

  constructor(options: LocalLauncherOptions) {
    this.options = options;
    this.adoptAll();
  }

  async launchMember(launch: MemberLaunch): Promise<number> {
    const key = keyOf(launch.uid, launch.member, launch.incarnation);
    const running = this.known.get(key);
    if (running !== undefined) return running.process.identity.pid;
    // An effect may be performed again while its first performance is under way.
    const started = this.starting.get(key) ?? this.start(key, launch);
    this.starting.set(key, started);
    try {
      return await started;
    } finally {
      this.starting.delete(key);
    }
  }

  async stopMember(uid: string, member: string, incarnation: number): Promise<void> {
    const key = keyOf(uid, member, incarnation);
    await this.starting.get(key)?.catch(() => undefined);
    const known = this.known.get(key);
    if (known !== undefined) await stopProcess(known.process, this.options.clock);
  }

  async release(uid: string): Promise<void> {
    await Promise.all(
      [...this.known.values()]
        .filter(({ member }) => member.uid === uid)
        .map(({ member }) => this.stopMember(uid, member.member, member.incarnation)),
    );
    sweepStaged(uid);
  }

  async running(): Promise<readonly RunningMember[]> {
    return [...this.known.values()]
      .filter(({ process }) => isRunning(process.identity))
      .map(({ member }) => member);
  }

  onEnd(listener: (member: RunningMember, sentence: string) => void): void {
    this.listener = listener;
  }

  snapshot(): ClusterSnapshot {
    return localSnapshot(this.options.machine);
  }

  async ensureStore(): Promise<{ readonly host: string; readonly port: number }> {
    this.store ??= this.startStore();
    const { host, port } = await this.store;
    return { host, port };
  }

  async stopStore(): Promise<void> {
    const { dataDirectory, storeCommand: command, environment, clock } = this.options;
    await stopRendezvousStore({ dataDirectory, command, environment, clock });
  }

  workDirectory(uid: string): string {
    return join(this.options.dataDirectory, "runs", uid, "work");
  }

  /** Stops watching. Members and store go on: they belong to the jobs, not to this process. */
  async close(): Promise<void> {
    this.isClosed = true;
  }

  private async start(key: string, launch: MemberLaunch): Promise<number> {
    const { dataDirectory, agentCommand, environment, clock } = this.options;
    const [command, ...prefix] = agentCommand;
    const { uid, member, incarnation } = launch;
    const marks = ["--job-uid", uid, "--member", member, "--incarnation", String(incarnation)];
    const plan: LocalProcessPlan = {
      recordPath: recordPathOf(dataDirectory, { uid, member, incarnation }),
      command,
      args: [
        ...prefix,
        ...["--control-plane", this.options.controlPlaneAddress()],
        ...marks,
        ...["--token-fd", "3", "--work-directory", this.workDirectory(uid)],
        ...["--slot", String(launch.slot)],
      ],
      marks,
      environment,
      logPath: logPathOf(dataDirectory, { uid, member, incarnation }),
      secret: launch.token,
    };
    // Found: started by a control plane that died before it could say so.
    const process = findProcess(plan, clock) ?? (await startProcess(plan));
    this.watch(key, {
      member: { uid, member, incarnation, pid: process.identity.pid },
      process,
      plan,
    });
    return process.identity.pid;
  }

  private watch(key: string, known: Known): void {
    this.known.set(key, known);
    known.process.ended.then((end) => {
      this.known.delete(key);
      if (this.isClosed) return;
      forgetRecord(known.plan.recordPath);
      this.listener(known.member, sentenceOf(end, known.plan.logPath));
    }, unexpected);
  }

  private async startStore(): Promise<RendezvousStore> {
    const { dataDirectory, storeCommand, environment, clock } = this.options;
    const forget = (): void => {
      this.store = undefined; // the next generation starts another one
    };
    try {
      const command = storeCommand;
      const store = await ensureRendezvousStore({ dataDirectory, command, environment, clock });
      store.process.ended.then(forget, forget);
      return store;
    } catch (reason) {
      forget();
      throw reason;
    }
  }

  /** Every recorded member of every run that is still alive. */
  private adoptAll(): void {
    const { dataDirectory, clock } = this.options;
    for (const uid of namesIn(join(dataDirectory, "runs"))) {
      for (const name of namesIn(join(dataDirectory, "runs", uid, "members"))) {
        const named = /^([A-Za-z0-9-]+)\.(\d+)\.json$/.exec(name);
        if (named === null) continue;
        const member = { uid, member: named[1] ?? "", incarnation: Number(named[2]) };
        const plan = adoptionPlan(dataDirectory, member);
        const process = findProcess(plan, clock);
        if (process === undefined) forgetRecord(plan.recordPath);
        else {
          const key = keyOf(uid, member.member, member.incarnation);
          this.watch(key, { member: { ...member, pid: process.identity.pid }, process, plan });
        }
      }
    }
  }
}

type MemberId = Pick<RunningMember, "uid" | "member" | "incarnation">;

function keyOf(uid: string, member: string, incarnation: number): string {
  return `${uid}/${member}/${incarnation}`;
}

function recordPathOf(dataDirectory: string, { uid, member, incarnation }: MemberId): string {
  return join(dataDirectory, "runs", uid, "members", `${member}.${incarnation}.json`);
}

function logPathOf(dataDirectory: string, { uid, member, incarnation }: MemberId): string {
  return join(dataDirectory, "runs", uid, "logs", `${member}.${incarnation}.log`);
}

/** Only for finding: the process was started with arguments of its own time. */
function adoptionPlan(dataDirectory: string, id: MemberId): LocalProcessPlan {
  const { uid, member, incarnation } = id;
  return {
    recordPath: recordPathOf(dataDirectory, id),
    command: "",
    args: [],
    marks: ["--job-uid", uid, "--member", member, "--incarnation", String(incarnation)],
    environment: {},
    logPath: logPathOf(dataDirectory, id),
    secret: null,
  };
}

function namesIn(directory: string): readonly string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

/** How it ended, and the last thing it wrote. */
function sentenceOf({ status, signal }: ProcessEnd, logPath: string): string {
  const how =
    signal !== null
      ? `was ended by ${signal}`
      : status !== null
        ? `ended with status ${status}`
        : "is gone";
  const last = status === 0 ? undefined : lastLine(logPath);
  return last === undefined ? how : `${how}: ${last.slice(0, SENTENCE_CHARS_MAX)}`;
}

function lastLine(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString("utf8").trimEnd().split("\n").at(-1) || undefined;
  } finally {
    closeSync(file);
  }
}

/** `ended` never rejects; if it does, it must be seen. */
function unexpected(reason: unknown): void {
  throw reason;
}
