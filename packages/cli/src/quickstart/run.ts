import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { cacheDirectory, ensurePython, repositoryRoot } from "../up/python.ts";
import { BASE, type Evaluated, evaluate, FOUR_EXAMPLES, type Variant } from "./compare.ts";
import { jobText, type Prepared, prepare } from "./prepare.ts";
import { rehearse, type Stage, sayHow } from "./rehearse.ts";
import { INTRODUCTION, nextLines, type Outcome, resultLines, shortfalls } from "./report.ts";
import { interruptOn } from "./run-python.ts";

const JOB = "addresses";

/**
 * Runs the README's main job from nothing to a scored adapter, with the verbs a user would type. `signal` ends what
 * is running; then it rejects, after the services that it has started are gone.
 */
export async function quickstart(call: Invocation, signal: AbortSignal): Promise<ExitCode> {
  const { io, settings, flags } = call;
  const say = (line: string): void => io.out(`${line}\n`);
  const verb = verbRunner(call, signal);
  for (const line of INTRODUCTION) say(line);

  // 1. Python, model and data: whatever is not there yet.
  const python = await ensurePython((line) => io.err(`${line}\n`), { signal });
  say("1. Model and data");
  const paths = {
    example: join(repositoryRoot(), "deploy", "examples", "quickstart"),
    dataDirectory: join(cacheDirectory(), "quickstart"),
  };
  const prepared = await prepare(python, paths, say, signal);
  const { rows } = prepared;
  say(`  ${rows.train} rows to train on, ${rows.validation} to choose on, ${rows.test} held out\n`);

  // 2. What the model can do untrained; nothing else runs meanwhile, so the times mean something.
  say("2. The base model, scored on held-out addresses (kept for the next run)");
  const scored = scorer(call, { python, prepared, signal });
  const base = await scored(BASE);
  const fourExamples = await scored(FOUR_EXAMPLES);

  // 3. The services of this data directory, as `shardctl up` starts them.
  say("\n3. Services");
  const wasUp = (await verb.quiet(["get", "jobs"])).code === EXIT.done;
  try {
    if (!wasUp) await verb.shown(["up", "--detach"]);
    // 4. Plan, submit, follow.
    const text = jobText(paths.example, prepared);
    const file = writeJob(settings.dataDir, text);
    if (flags.on("fresh")) await verb.quiet(["delete", `job/${JOB}`, "--yes"]);
    say("\n4. The plan");
    await verb.shown(["plan", "-f", file]);
    say("\n5. The job");
    const isTrained = await isComplete(verb);
    await verb.shown(["apply", "-f", file, "--follow"]);
    const adapter = await adapterOf(verb);
    const tuned = await scored({ label: "tuned", shots: 0, adapter });
    // 5. Side by side.
    const outcome: Outcome = { base, fourExamples, tuned, adapter, program: io.program };
    for (const line of resultLines(outcome)) say(line);
    // 6. A kill to see, while everything is at hand.
    const folder = join(settings.dataDir, "quickstart");
    const stage: Stage = { program: io.program, folder, jobText: text, say, ...verb };
    if (isTrained) sayHow(stage);
    else if (!flags.off("rehearsal")) await rehearse(stage);
    for (const line of nextLines(io.program, JOB)) say(line);
    const wrong = shortfalls(outcome);
    if (wrong.length > 0)
      throw new Refusal(EXIT.error, "the tuned model is worse than it should be", { why: wrong });
    return EXIT.done;
  } finally {
    if (!wasUp) await verb.always(["down"]);
  }
}

function scorer(
  call: Invocation,
  ready: { readonly python: string; readonly prepared: Prepared; readonly signal: AbortSignal },
): (variant: Variant) => Promise<Evaluated> {
  const { python, prepared, signal } = ready;
  return async (variant) => {
    const { io } = call;
    const started = io.now();
    const progress = (done: number, total: number): void => {
      if (io.stderrIsTty) io.err(`\r  ${variant.label}: ${done} of ${total} `);
    };
    const result = await evaluate(python, prepared, variant, { signal, progress });
    if (io.stderrIsTty) io.err("\r\u001b[K");
    const { exact_match, valid_json } = result.scores;
    const seconds = Math.round((io.now() - started) / 1000);
    io.out(
      `  ${variant.label}: exact ${(100 * exact_match).toFixed(1)} %, valid JSON ${(100 * valid_json).toFixed(0)} % (${seconds} s)\n`,
    );
    return result;
  };
}

/** A job file in the data directory, so that the user can look at it and use it again. */
function writeJob(dataDir: string, text: string): string {
  const folder = join(dataDir, "quickstart");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "job.yaml");
  writeFileSync(file, text);
  return file;
}

interface Finished {
  readonly code: number;
  readonly stdout: string;
}

interface VerbRunner {
  /** Prints the command, then runs it with our terminal; a failure ends the quickstart with its exit code. */
  shown(args: readonly string[]): Promise<void>;
  quiet(args: readonly string[]): Promise<Finished>;
  /** As quiet, after an interruption, too. */
  always(args: readonly string[]): Promise<Finished>;
}

/** Runs our own verbs as a user would, against the quickstart's data directory. */
function verbRunner(call: Invocation, signal: AbortSignal): VerbRunner {
  const entry = join(repositoryRoot(), "packages", "cli", "bin", "shardctl");
  const where = ["--data-dir", call.settings.dataDir];
  const always = (args: readonly string[], visible = false): Promise<Finished> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [entry, ...args, ...where], {
        stdio: ["inherit", visible ? "inherit" : "pipe", visible ? "inherit" : "ignore"],
      });
      let stdout = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        stdout += chunk.toString("utf8");
      });
      const unwatch = interruptOn(signal, child);
      child.on("error", reject);
      child.on("close", (code) => {
        unwatch();
        resolve({ code: code ?? EXIT.interrupted, stdout });
      });
    });
  const start = async (args: readonly string[], visible: boolean): Promise<Finished> => {
    signal.throwIfAborted();
    const finished = await always(args, visible);
    signal.throwIfAborted();
    return finished;
  };
  return {
    shown: async (args) => {
      call.io.out(`  $ ${call.io.program} ${args.join(" ")}\n`);
      const { code } = await start(args, true);
      if (code !== EXIT.done) {
        throw new Refusal(
          code as ExitCode,
          `\`${call.io.program} ${args.join(" ")}\` ended with ${code}`,
          {
            next: `${call.io.program} explain ${JOB}`,
          },
        );
      }
    },
    quiet: (args) => start(args, false),
    always: (args) => always(args),
  };
}

/** True when an earlier run has trained the job. */
async function isComplete(verb: VerbRunner): Promise<boolean> {
  const { code, stdout } = await verb.quiet(["get", "job", JOB, "-o", "json"]);
  if (code !== EXIT.done) return false;
  return (JSON.parse(stdout) as { status?: { state?: string } }).status?.state === "Complete";
}

async function adapterOf(verb: VerbRunner): Promise<string> {
  const { stdout } = await verb.quiet(["get", "job", JOB, "-o", "json"]);
  const job = JSON.parse(stdout) as {
    status?: { result?: { artifacts?: { format: string; location: string }[] } };
  };
  const found = job.status?.result?.artifacts?.find(({ format }) => format === "peft");
  if (!found) throw new Refusal(EXIT.error, `job ${JOB} is complete but names no adapter`);
  return found.location.replace(/^file:\/\//, "");
}
