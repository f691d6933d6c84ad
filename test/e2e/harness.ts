import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findPython } from "../support/find-python.mjs";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SHARDCTL = join(ROOT, "packages/cli/bin/shardctl");
const NODE = join(ROOT, "node_modules/.bin/node");

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The trainer's Python; tests that need it are not started without it. */
export function python(): string {
  const found = findPython();
  if (found === undefined) throw new Error("no Python environment; npm test makes one");
  return found;
}

export function run(
  command: string,
  args: readonly string[],
  options: {
    readonly timeoutMs?: number;
    readonly env?: Record<string, string>;
    readonly stdin?: string;
  } = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      [...args],
      {
        cwd: ROOT,
        timeout: options.timeoutMs ?? 120_000,
        maxBuffer: 64 * 1024 * 1024,
        env: { ...process.env, NO_COLOR: "1", ...options.env },
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 137;
        resolve({ code, stdout, stderr });
      },
    );
    child.stdin?.end(options.stdin ?? "");
  });
}

/** Directory of the small models and data sets; made once, kept in the user's cache. */
export async function fixtures(): Promise<string> {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const folder = join(cache, "shardwright", "test-fixtures");
  mkdirSync(join(folder, ".."), { recursive: true });
  const made = await run(python(), [join(ROOT, "test/fixtures/make_fixtures.py"), folder]);
  if (made.code !== 0) throw new Error(made.stderr);
  return folder;
}

/** Members and ranks as `get members -o json` lists them. */
export interface MemberView {
  readonly name: string;
  readonly slot: number;
  readonly incarnation: number;
  readonly state: string;
  readonly pid: number;
  readonly ranks: readonly {
    rank: number;
    pid: number;
    ownedBlocks: number;
    replicaBlocks: number;
  }[];
}

/** What the tests read of a job. */
export interface JobObject {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: unknown;
  readonly status: {
    readonly state: string;
    readonly reason?: { readonly code: string; readonly sentence: string };
    readonly progress?: {
      readonly step: number;
      readonly totalSteps: number;
      readonly loss: string;
    };
    readonly plan?: { readonly zeroStage: number };
    readonly membership?: { readonly generation: number; readonly ranks: number };
    readonly recoveries?: { readonly count: number; readonly stepsRedone: number };
    readonly result?: {
      readonly weightsSha256: string;
      readonly stateSha256: string;
      readonly consumedSha256: string;
      readonly artifacts: readonly { format: string; location: string }[];
    };
  };
}

/** What must be equal whatever happened: the result without where its exports lie. */
export function hashesOf(
  job: JobObject,
): Record<"weightsSha256" | "stateSha256" | "consumedSha256", string> {
  if (job.status.result === undefined) throw new Error(`job ${job.metadata.name} has no result`);
  const { weightsSha256, stateSha256, consumedSha256 } = job.status.result;
  return { weightsSha256, stateSha256, consumedSha256 };
}

/** One `shardctl up` in a data directory of its own. */
export class Embedded {
  readonly dataDir: string;
  readonly #interpreter: string;
  readonly #flags: readonly string[];
  #up: ChildProcess | undefined;

  private constructor(dataDir: string, interpreter: string, flags: readonly string[]) {
    this.dataDir = dataDir;
    this.#interpreter = interpreter;
    this.#flags = flags;
  }

  /** `interpreter`: what members run on when it is not the trainer's Python; `flags`: further ones of `up`. */
  static async start(interpreter = python(), flags: readonly string[] = []): Promise<Embedded> {
    const made = new Embedded(mkdtempSync(join(tmpdir(), "shardwright-e2e-")), interpreter, flags);
    await made.up();
    return made;
  }

  /** Starts the services and waits for the ready line. */
  async up(): Promise<void> {
    const child = spawn(NODE, [SHARDCTL, "up", "--data-dir", this.dataDir, ...this.#flags], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", SHARDWRIGHT_PYTHON: this.#interpreter },
    });
    this.#up = child;
    let said = "";
    await new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer): void => {
        said += chunk.toString("utf8");
        if (/^ready/m.test(said)) resolve();
      };
      child.stdout?.on("data", hear);
      child.stderr?.on("data", hear);
      child.on("close", (code) => reject(new Error(`up ended with ${code}: ${said}`)));
    });
  }

  get upPid(): number {
    const pid = this.#up?.pid;
    if (pid === undefined) throw new Error("not up");
    return pid;
  }

  /** kill -9 of the process that holds every service. */
  async killServices(): Promise<void> {
    const child = this.#up;
    if (!child) return;
    const gone = new Promise((resolve) => child.on("close", resolve));
    process.kill(this.upPid, "SIGKILL");
    await gone;
    this.#up = undefined;
  }

  ctl(...args: string[]): Promise<Ran> {
    return run(NODE, [SHARDCTL, ...args, "--data-dir", this.dataDir], { timeoutMs: 280_000 });
  }

  async json<T>(...args: string[]): Promise<T> {
    const ran = await this.ctl(...args, "-o", "json");
    if (ran.code !== 0) throw new Error(`${args.join(" ")} ended with ${ran.code}: ${ran.stderr}`);
    return JSON.parse(ran.stdout) as T;
  }

  job(name: string): Promise<JobObject> {
    return this.json<JobObject>("get", "job", name);
  }

  async members(name: string): Promise<readonly MemberView[]> {
    return (await this.json<{ items: MemberView[] }>("get", "members", name)).items;
  }

  /** Writes and applies a job document; returns what apply printed. */
  async apply(document: object): Promise<Ran> {
    const file = join(this.dataDir, `job-${Date.now()}-${Math.round(Math.random() * 1e9)}.json`);
    writeFileSync(file, JSON.stringify(document));
    return await this.ctl("apply", "-f", file);
  }

  /** Applies and waits for the end; throws with the events when the job does not complete. */
  async finish(document: { metadata: { name: string } }): Promise<JobObject> {
    const { name } = document.metadata;
    const applied = await this.apply(document);
    if (applied.code !== 0) throw new Error(`apply ended with ${applied.code}: ${applied.stderr}`);
    return await this.complete(name);
  }

  async complete(name: string): Promise<JobObject> {
    const waited = await this.ctl(
      "wait",
      `job/${name}`,
      "--for=condition=Complete",
      "--timeout",
      "240s",
    );
    if (waited.code !== 0) {
      const events = await this.ctl("events", name);
      throw new Error(
        `wait ended with ${waited.code}: ${waited.stderr}\n${events.stdout}\n${this.memberLogs()}`,
      );
    }
    return await this.job(name);
  }

  /** Waits until the job has done `step` steps. */
  async reach(name: string, step: number): Promise<void> {
    const waited = await this.ctl("wait", `job/${name}`, `--for=step=${step}`, "--timeout", "120s");
    if (waited.code !== 0) throw new Error(`wait for step ${step}: ${waited.stderr}`);
  }

  private memberLogs(): string {
    const log = join(this.dataDir, "up.log");
    return existsSync(log) ? readFileSync(log, "utf8").slice(-4_000) : "";
  }

  async stop(): Promise<void> {
    await this.ctl("down");
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

export interface JobOptions {
  readonly name: string;
  readonly model?: string;
  readonly method?: "lora" | "full";
  readonly members?: number;
  readonly steps?: number;
  readonly extra?: Record<string, unknown>;
  readonly train?: Record<string, unknown>;
}

/** A job on a tiny model: 8 rows a step in 8 lanes, so that up to 8 ranks have work. */
export function tinyJob(folder: string, options: JobOptions): { metadata: { name: string } } {
  const members = options.members ?? 2;
  return {
    apiVersion: "shardwright.dev/v1alpha1",
    kind: "FineTuneJob",
    metadata: { name: options.name },
    spec: {
      model: { source: `file://${folder}/models/${options.model ?? "tiny-llama"}` },
      data: { train: { source: `file://${folder}/data/train.jsonl` } },
      tuning: { method: options.method ?? "lora", r: 4, alpha: 8 },
      train: {
        maxSteps: options.steps ?? 8,
        batchSize: 8,
        lanes: 8,
        microBatch: 1,
        learningRate: 0.005,
        schedule: "linear",
        warmupRatio: 0.1,
        seed: 7,
        ...options.train,
      },
      resources: { members: { replicas: members, min: 1, max: Math.max(members, 5) } },
      checkpoint: { every: { steps: 4 }, keepLast: 2 },
      export: [{ format: (options.method ?? "lora") === "lora" ? "peft" : "hf" }],
      ...options.extra,
    },
  } as { metadata: { name: string } };
}
