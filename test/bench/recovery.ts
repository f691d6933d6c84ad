// kill -9 of one of four ranks: seconds until the first step beyond every step that was done before, and how many
// steps had to be done again. Ours (a real job of `shardctl up`) against torchrun elastic with DDP, PEFT and a save
// every `k` steps (recovery_torchrun.py): same model, rows, batch and k; one side after the other, they share the cores.
// node test/bench/recovery.ts [--short] [--trials 5] [--save-every 25] [--model DIRECTORY --rows CHAT_ROWS.jsonl]
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Job, JobServiceClient, JobState } from "@shardwright/proto";
import { type Connection, connect } from "@shardwright/service/rpc-client";
import { Embedded, fixtures, python, ROOT, run, tinyJob } from "../e2e/harness.ts";

const RANKS = 4;
const POLL_MS = 5;
// Enough for a restart of everything on a loaded machine.
const WAIT_MS_MAX = 300_000;
const STEPS = 1_000_000;
const STDERR_CHARS = 4_000;
// Kills fall anywhere between two saves: a share of the interval for each trial, none of them a boundary.
const SHARES = [0.5, 0.9, 0.2, 0.7, 0.35];

const { values } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    trials: { type: "string" },
    "save-every": { type: "string" },
    model: { type: "string" },
    rows: { type: "string" },
  },
});
const trials = Number(values.trials ?? (values.short ? 1 : SHARES.length));
const saveEvery = Number(values["save-every"] ?? 25);
const folder = await fixtures();
const model = values.model ?? join(folder, "models/tiny-llama");
const rows = values.rows ?? join(folder, "data/train.jsonl");

interface Trial {
  /** From the signal to the first step above `reachedStep`. */
  readonly seconds: number;
  /** The highest step that was done before. */
  readonly reachedStep: number;
  readonly stepsRedone: number;
}

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  const limit = performance.now() + WAIT_MS_MAX;
  while (performance.now() < limit) {
    const found = await look();
    if (found !== null) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`${what} did not happen in ${WAIT_MS_MAX / 1000} s`);
}

/** Our side: one job that runs through every trial. */
class Ours {
  private readonly shardwright: Embedded;
  private readonly jobs: Connection<JobServiceClient>;

  private constructor(shardwright: Embedded) {
    this.shardwright = shardwright;
    const server = JSON.parse(readFileSync(join(shardwright.dataDir, "server.json"), "utf8")) as {
      address: string;
    };
    const token = readFileSync(join(shardwright.dataDir, "token"), "utf8").trim();
    this.jobs = connect(JobServiceClient, server.address, token);
  }

  static async start(): Promise<Ours> {
    const ours = new Ours(await Embedded.start());
    const budget = Object.fromEntries(
      ["error", "oom", "communication", "hang", "node", "storage"].map((cause) => [cause, 1000]),
    );
    const job = tinyJob(folder, {
      name: "recovery",
      members: RANKS,
      steps: STEPS,
      extra: {
        model: { source: `file://${model}` },
        data: { train: { source: `file://${rows}` } },
        tuning: { method: "lora", r: 16, alpha: 32 },
        resources: { members: { replicas: RANKS, min: 1, max: RANKS } },
        checkpoint: { every: { steps: saveEvery }, keepLast: 2 },
        faultBudget: budget,
      },
    });
    const applied = await ours.shardwright.apply(job);
    if (applied.code !== 0) throw new Error(applied.stderr);
    return ours;
  }

  async trial(share: number): Promise<Trial> {
    const before = await until("our job whole and away from a save", async () => {
      const job = await this.job();
      const step = stepOf(job);
      const { membership } = job.status ?? {};
      const isWhole = membership?.ranksCount === RANKS && job.status?.state === JobState.RUNNING;
      return isWhole && step > saveEvery && isAt(step, share) ? job : null;
    });
    const redoneBefore = redoneOf(before);
    const generation = before.status?.membership?.generation ?? 0n;
    const [, victim] = await this.shardwright.members("recovery");
    const pid = victim?.ranks[0]?.pid ?? 0;
    if (pid < 2) throw new Error("no rank to kill");
    const killed = performance.now();
    process.kill(pid, "SIGKILL");
    let reachedStep = 0;
    // Steps of the old generation may still come in: what counts is the first step that the new one adds.
    const seconds = await until("our next step", async () => {
      const job = await this.job();
      const isNew = (job.status?.membership?.generation ?? 0n) > generation;
      if (isNew && stepOf(job) > reachedStep) return (performance.now() - killed) / 1000;
      if (!isNew) reachedStep = Math.max(reachedStep, stepOf(job));
      return null;
    });
    const stepsRedone = redoneOf(await this.job()) - redoneBefore;
    return { seconds, reachedStep, stepsRedone };
  }

  async end(): Promise<void> {
    this.jobs.close();
    await this.shardwright.ctl("cancel", "recovery");
    await this.shardwright.stop();
  }

  private async job(): Promise<Job> {
    const request = { tenant: "", name: "recovery" };
    const answer = await this.jobs.call((client) => client.getJob.bind(client), request, {
      deadlineMs: 30_000,
    });
    if (answer.job === undefined) throw new Error("the job is gone");
    return answer.job;
  }
}

function stepOf(job: Job): number {
  return Number(job.status?.progress?.step ?? 0);
}

function redoneOf(job: Job): number {
  return Number(job.status?.recoveries?.redoneStepsCount ?? 0);
}

function isAt(step: number, share: number): boolean {
  return step % saveEvery === Math.floor(share * saveEvery);
}

/** Their side: one torchrun that restarts its workers in every trial. */
class Theirs {
  private readonly directory = mkdtempSync(join(tmpdir(), "shardwright-recovery-"));
  private readonly child: ChildProcess;

  constructor() {
    const torchrun = [
      ...["-m", "torch.distributed.run", "--nnodes=1", `--nproc-per-node=${RANKS}`],
      ...["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--max-restarts=1000"],
    ];
    const script = [join(ROOT, "test/bench/recovery_torchrun.py"), model, rows];
    const options = ["--save-every", String(saveEvery), "--out", this.path];
    this.child = spawn(python(), [...torchrun, ...script, ...options], {
      stdio: ["ignore", "ignore", openSync(join(this.directory, "stderr"), "w")],
      env: { ...process.env, OMP_NUM_THREADS: "1", GLOO_SOCKET_IFNAME: "lo", HF_HUB_OFFLINE: "1" },
    });
  }

  /** With what torchrun said last, when it fails. */
  async trial(share: number): Promise<Trial> {
    return await this.oneTrial(share).catch((reason: unknown) => {
      const said = readFileSync(join(this.directory, "stderr"), "utf8").slice(-STDERR_CHARS);
      throw new Error(`${String(reason)}\n${said}`);
    });
  }

  private async oneTrial(share: number): Promise<Trial> {
    const pid = await until("their step away from a save", async () => {
      const { run: facts, pids } = this.read();
      const step = facts.at(-1) ?? 0;
      return step > saveEvery && isAt(step, share) ? (pids.get(1) ?? null) : null;
    });
    const killedMs = Date.now();
    process.kill(pid, "SIGKILL");
    const began = await until("their restart", async () => {
      const last = this.lines().findLast(({ began }) => began !== undefined);
      return last !== undefined && last.time * 1000 > killedMs ? last : null;
    });
    const steps = (): readonly { step?: number; time: number }[] =>
      this.lines().filter(({ step }) => step !== undefined);
    const reachedStep = Math.max(
      ...steps()
        .filter(({ time }) => time < began.time)
        .map(({ step }) => step ?? 0),
    );
    const beyond = await until("their next step", async () => {
      return (
        steps().find(({ step, time }) => time > began.time && (step ?? 0) > reachedStep) ?? null
      );
    });
    const seconds = beyond.time - killedMs / 1000;
    return { seconds, reachedStep, stepsRedone: reachedStep - (began.began ?? 0) };
  }

  async end(): Promise<void> {
    const gone = once(this.child, "close");
    this.child.kill("SIGTERM"); // torchrun ends its workers
    await gone;
    rmSync(this.directory, { recursive: true, force: true });
  }

  private get path(): string {
    return join(this.directory, "said.jsonl");
  }

  private lines(): readonly {
    time: number;
    step?: number;
    began?: number;
    pid?: number;
    rank?: number;
  }[] {
    if (!existsSync(this.path)) return [];
    const text = readFileSync(this.path, "utf8");
    const whole = text.slice(0, text.lastIndexOf("\n")).split("\n");
    return whole.filter((line) => line !== "").map((line) => JSON.parse(line));
  }

  /** Steps since the last restart, and the newest pid of each rank. */
  private read(): { run: readonly number[]; pids: ReadonlyMap<number, number> } {
    const lines = this.lines();
    const begun = lines.findLastIndex(({ began }) => began !== undefined);
    const pids = new Map(
      lines.flatMap(({ rank, pid }) => (pid ? [[rank ?? 0, pid] as const] : [])),
    );
    const run = lines.slice(begun + 1).flatMap(({ step }) => (step === undefined ? [] : [step]));
    return { run, pids };
  }
}

/** One side alone at a time: they share the cores. */
async function side(start: () => Promise<Ours> | Theirs): Promise<Trial[]> {
  const one = await start();
  try {
    const found: Trial[] = [];
    for (let trial = 0; trial < trials; trial++) {
      found.push(await one.trial(SHARES[trial % SHARES.length] ?? 0.5));
      process.stderr.write(`${JSON.stringify(found.at(-1))}\n`);
    }
    return found;
  } finally {
    await one.end();
  }
}

function summary(found: readonly Trial[]) {
  const median = (figures: readonly number[]): number =>
    [...figures].sort((a, b) => a - b)[Math.floor(figures.length / 2)] ?? 0;
  return {
    secondsMedian: median(found.map(({ seconds }) => seconds)),
    stepsRedoneMedian: median(found.map(({ stepsRedone }) => stepsRedone)),
    trials: found,
  };
}

const ours = summary(await side(() => Ours.start()));
const torchrun = summary(await side(() => new Theirs()));
const versions = await run(python(), [
  "-c",
  "import torch,transformers,peft;print(torch.__version__,transformers.__version__,peft.__version__)",
]);
const [torch, transformers, peft] = versions.stdout.trim().split(" ");
const result = {
  bench: "recovery",
  command: `node test/bench/recovery.ts ${process.argv.slice(2).join(" ")}`.trim(),
  date: new Date().toISOString(),
  versions: { node: process.version, torch, transformers, peft },
  machine: {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    load: loadavg()[0],
  },
  ...{ ranks: RANKS, saveEverySteps: saveEvery },
  goal: { seconds: 1, stepsRedone: 0 },
  ours,
  torchrun,
  ratio: torchrun.secondsMedian / ours.secondsMedian,
};
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
