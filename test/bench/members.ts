// What one control-plane process holds: N simulated members on real gRPC streams (members-peer.ts) against the real
// control plane (members-plane.ts): how long all take to join, how long a step report waits for its acknowledgement
// (durable in SQLite), CPU and memory, and how long a kill -9 of the control plane is felt. Prints JSON.
// node test/bench/members.ts [--short] [--sizes 100x1,100x10,100x30,100x100,1000x1] [--seconds 20] [--step-seconds 5]
// A size is MEMBERSxJOBS: so many members in each of so many jobs.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { JobServiceClient } from "@shardwright/proto";
import { type Connection, connect } from "@shardwright/service/rpc-client";
import { fixtures, ROOT, run, tinyJob } from "../e2e/harness.ts";
import { type Gauge, type Launch, Peer } from "./members-peer.ts";

const SIZES = "100x1,100x10,100x30,100x100,1000x1";
const SIZES_SHORT = "20x1,20x5";
// As the agent beats (agent/session.py).
const BEAT_MS = 1_000;
// Members do not beat in step: a wheel of so many slices a second.
const SLICES = 50;
const JOIN_MS_MAX = 600_000;
const STORM_MS_MAX = 300_000;
const DOWN_MS = 1_000;
const CALL_MS = 30_000;
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4_096;
const PLANE = fileURLToPath(new URL("./members-plane.ts", import.meta.url));

const { values } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    sizes: { type: "string" },
    seconds: { type: "string" },
    "step-seconds": { type: "string" },
    profile: { type: "string" },
  },
});
const sizes = (values.sizes ?? (values.short ? SIZES_SHORT : SIZES)).split(",").map((size) => {
  const [members = 0, jobs = 0] = size.split("x").map(Number);
  return { members, jobs };
});
const seconds = Number(values.seconds ?? (values.short ? 4 : 20));
const stepSeconds = Number(values["step-seconds"] ?? (values.short ? 1 : 5));

// What else ran: the figures are of a machine that did both.
const LOAD_BEFORE = loadavg();

interface Size {
  readonly members: number;
  readonly jobs: number;
}

class Plane {
  readonly directory = mkdtempSync(join(tmpdir(), "shardwright-members-"));
  readonly token = "bench-token-of-the-owner-0123456789";
  address = "";
  private readonly slots: number;
  private child: ChildProcess | null = null;

  constructor(slots: number) {
    this.slots = slots;
    writeFileSync(join(this.directory, "token"), this.token, { mode: 0o600 });
  }

  get launchedPath(): string {
    return join(this.directory, "launched.jsonl");
  }

  async start(): Promise<void> {
    const marks = [this.directory, join(this.directory, "token"), String(this.slots)];
    const profile =
      values.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${values.profile}`];
    const child = spawn(process.execPath, [...profile, PLANE, ...marks], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.child = child;
    const [said] = (await once(child.stdout, "data")) as [Buffer];
    this.address = said.toString("utf8").trim();
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const { child } = this;
    if (child === null || child.exitCode !== null) return;
    const gone = once(child, "close");
    child.kill(signal);
    await gone;
  }

  /** CPU seconds since it began, and resident bytes now. */
  usage(): { cpuSeconds: number; rssBytes: number } {
    const stat = readFileSync(`/proc/${this.child?.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      cpuSeconds: ticks / TICKS_PER_SECOND,
      rssBytes: Number(fields[21]) * PAGE_BYTES,
    };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Everything the peers say, for the phase that runs. */
class Measure implements Gauge {
  messages = 0;
  waits: number[] = [];
  backMs: number[] = [];
  readonly strangeness = new Map<string, number>();
  sent(): void {
    this.messages += 1;
  }
  acknowledged(milliseconds: number): void {
    this.waits.push(milliseconds);
  }
  back(): void {
    this.backMs.push(performance.now());
  }
  strange(sentence: string): void {
    this.strangeness.set(sentence, (this.strangeness.get(sentence) ?? 0) + 1);
  }
  begin(): void {
    this.messages = 0;
    this.waits = [];
    this.backMs = [];
  }
}

/** The members of all jobs: they are started as the control plane asks, beat, and step with their gang. */
class Crowd {
  readonly peers: Peer[] = [];
  readonly gangs = new Map<string, Peer[]>();
  private readonly plane: Plane;
  private readonly gauge: Gauge;
  private readonly wanted: Size;
  private readonly timers: NodeJS.Timeout[] = [];
  private read = 0;
  private slice = 0;

  constructor(plane: Plane, gauge: Gauge, wanted: Size) {
    this.plane = plane;
    this.gauge = gauge;
    this.wanted = wanted;
    this.timers.push(setInterval(() => this.launch(), 20));
    this.timers.push(setInterval(() => this.beat(), BEAT_MS / SLICES));
  }

  private launch(): void {
    if (!existsSync(this.plane.launchedPath)) return;
    const text = readFileSync(this.plane.launchedPath, "utf8");
    const whole = text.slice(this.read, text.lastIndexOf("\n") + 1);
    this.read += whole.length;
    for (const line of whole.split("\n")) {
      if (line !== "") this.add(JSON.parse(line) as Launch);
    }
  }

  private add(launch: Launch): void {
    const peer = new Peer(launch, this.peers.length + 1_000, this.gauge);
    this.peers.push(peer);
    const gang = this.gangs.get(launch.uid) ?? [];
    gang.push(peer);
    this.gangs.set(launch.uid, gang);
    if (gang.length === 1) this.stepForEver(gang, this.gangs.size);
    peer.connect(this.plane.address);
  }

  private beat(): void {
    this.slice = (this.slice + 1) % SLICES;
    for (let at = this.slice; at < this.peers.length; at += SLICES) this.peers[at]?.beat("lanes");
  }

  /** A step ends for all of a gang at once; gangs are spread over the interval. */
  private stepForEver(gang: Peer[], number: number): void {
    const offsetMs = (number * 619) % (stepSeconds * 1000);
    const begin = setTimeout(() => {
      const step = setInterval(() => {
        const isWhole =
          gang.length === this.wanted.members && gang.every(({ running }) => running !== null);
        if (isWhole) for (const peer of gang) peer.takeStep(stepSeconds);
      }, stepSeconds * 1000);
      this.timers.push(step);
    }, offsetMs);
    this.timers.push(begin);
  }

  async until(what: string, holds: () => boolean, limitMs: number): Promise<void> {
    const until = performance.now() + limitMs;
    while (!holds()) {
      if (performance.now() > until) throw new Error(`${what} did not happen in ${limitMs} ms`);
      await sleep(10);
    }
  }

  end(): void {
    for (const timer of this.timers) clearInterval(timer);
    for (const peer of this.peers) peer.end();
  }
}

function document(folder: string, name: string, members: number): object {
  const lanes = 2 ** Math.ceil(Math.log2(Math.max(8, members)));
  const train = { batchSize: lanes, lanes, maxSteps: 1_000_000 };
  return tinyJob(folder, {
    name,
    members,
    train,
    extra: { resources: { members: { replicas: members, min: members, max: members } } },
  });
}

async function submit(plane: Plane, size: Size, folder: string): Promise<void> {
  const jobs = connect(JobServiceClient, plane.address, plane.token);
  for (let job = 0; job < size.jobs; job++) {
    const documentJson = JSON.stringify(document(folder, nameOf(job), size.members));
    const request = { requestId: "", tenant: "", documentJson, dryRun: false };
    await jobs.call((client) => client.submitJob.bind(client), request, { deadlineMs: CALL_MS });
  }
  jobs.close();
}

function nameOf(job: number): string {
  return `bench-${job}`;
}

/** Steady load: latencies, CPU and memory over `seconds`. */
async function steady(plane: Plane, measure: Measure) {
  const lag = monitorEventLoopDelay({ resolution: 5 });
  lag.enable();
  measure.begin();
  const before = plane.usage();
  const begun = performance.now();
  await sleep(seconds * 1000);
  const after = plane.usage();
  const elapsed = (performance.now() - begun) / 1000;
  lag.disable();
  return {
    seconds: round(elapsed),
    messagesPerSecond: Math.round(measure.messages / elapsed),
    acknowledgedReports: measure.waits.length,
    acknowledgementMs: quantiles(measure.waits),
    cpuSecondsPerSecond: round((after.cpuSeconds - before.cpuSeconds) / elapsed),
    rssBytes: after.rssBytes,
    /** How late the load generator itself is: its part of the waits above. */
    generatorLagMsP99: round(lag.percentile(99) / 1e6),
  };
}

/** kill -9, a second of nothing, a new process: until every member has its reports acknowledged again. */
async function storm(plane: Plane, crowd: Crowd, measure: Measure) {
  measure.begin();
  const killed = performance.now();
  await plane.end("SIGKILL");
  await crowd.until("all streams broken", () => crowd.peers.every((p) => !p.isConnected), 30_000);
  await sleep(DOWN_MS);
  await plane.start();
  const ready = performance.now();
  const wait = crowd.until(
    "all members back",
    () => crowd.peers.every((peer) => peer.isConnected),
    STORM_MS_MAX,
  );
  await wait.catch((reason: unknown) => {
    measure.strange(String(reason));
  });
  const { cpuSeconds } = plane.usage();
  return {
    downSeconds: round((ready - killed) / 1000),
    back: measure.backMs.length,
    /** From the moment the new process listens; a member's own wait between tries is part of it. */
    backSeconds: quantiles(measure.backMs.map((at) => (at - ready) / 1000)),
    cpuSeconds: round(cpuSeconds),
  };
}

/** Nothing may have happened to the jobs: one generation, no recovery, every step on record. */
async function judge(plane: Plane, crowd: Crowd, size: Size) {
  const jobs: Connection<JobServiceClient> = connect(JobServiceClient, plane.address, plane.token);
  const generations = new Set<number>();
  let recoveries = 0;
  let stepsLost = 0;
  for (let job = 0; job < size.jobs; job++) {
    const answer = await jobs.call(
      (client) => client.getJob.bind(client),
      { tenant: "", name: nameOf(job) },
      { deadlineMs: CALL_MS },
    );
    const status = answer.job?.status;
    generations.add(Number(status?.membership?.generation ?? 0));
    recoveries += status?.recoveries?.count ?? 0;
    const gang = crowd.gangs.get(answer.job?.uid ?? "") ?? [];
    const told = Math.max(...gang.map(({ acknowledgedStep }) => acknowledgedStep));
    stepsLost += Math.max(0, told - Number(status?.progress?.step ?? 0));
  }
  jobs.close();
  return { generations: [...generations], recoveries, acknowledgedStepsLost: stepsLost };
}

async function measureSize(size: Size, folder: string) {
  const all = size.members * size.jobs;
  const plane = new Plane(all);
  const measure = new Measure();
  await plane.start();
  const crowd = new Crowd(plane, measure, size);
  try {
    const begun = performance.now();
    await submit(plane, size, folder);
    const isRunning = (): boolean =>
      crowd.peers.length === all && crowd.peers.every(({ running }) => running !== null);
    await crowd.until("all members running", isRunning, JOIN_MS_MAX);
    const joinSeconds = round((performance.now() - begun) / 1000);
    const joinCpuSeconds = round(plane.usage().cpuSeconds);
    const isBack = (): boolean => crowd.peers.every((peer) => peer.isConnected);
    await crowd.until("first acknowledgements", isBack, STORM_MS_MAX);
    return {
      members: all,
      ...{ jobs: size.jobs, membersPerJob: size.members },
      ...{ joinSeconds, joinCpuSeconds },
      steady: await steady(plane, measure),
      storm: await storm(plane, crowd, measure),
      after: await steady(plane, measure),
      ...(await judge(plane, crowd, size)),
      strange: Object.fromEntries([...measure.strangeness].slice(0, 10)),
    };
  } finally {
    crowd.end();
    await plane.end(values.profile === undefined ? "SIGKILL" : "SIGTERM");
    plane.remove();
  }
}

function quantiles(figures: readonly number[]) {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (q: number): number => round(sorted[Math.floor(q * (sorted.length - 1))] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

const folder = await fixtures();
const figures = [];
for (const size of sizes) {
  const figure = await measureSize(size, folder);
  process.stderr.write(`${JSON.stringify(figure)}\n`);
  figures.push(figure);
}
const commit = (await run("git", ["rev-parse", "--short", "HEAD"])).stdout.trim();
const result = {
  bench: "members",
  command: `node test/bench/members.ts ${process.argv.slice(2).join(" ")}`.trim(),
  date: new Date().toISOString(),
  commit,
  node: process.version,
  machine: {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    loadAverageBefore: LOAD_BEFORE,
  },
  beatSeconds: BEAT_MS / 1000,
  stepSeconds,
  figures,
};
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
process.exit(0);
