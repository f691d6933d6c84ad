import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, statfsSync, statSync } from "node:fs";
import { cpus, freemem, totalmem } from "node:os";
import { readServerFile } from "../context.ts";
import { EXIT, type ExitCode, failureOf } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { printObject } from "../output.ts";
import { bytes } from "../render/quantity.ts";
import { withJobs } from "../rpc/jobs.ts";
import { pythonIfReady, trainerPath } from "../up/python.ts";

/** `fail` makes the exit code 1, `warn` does not. */
export interface Finding {
  readonly check: string;
  readonly verdict: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do about it. */
  readonly next?: string;
}

// A small LoRA run with its checkpoints; less fills up within one job.
const DISK_BYTES_WANTED = 5 * 1024 ** 3;

/** Checks this machine and the control plane; every finding that is not ok says what to do. */
export async function run(call: Invocation): Promise<ExitCode> {
  const findings = [
    node(),
    {
      check: "machine",
      verdict: "ok",
      found: `${cpus().length} CPUs, ${bytes(totalmem())} memory, ${bytes(freemem())} free`,
    } as const,
    ...python(call),
    ...dataDirectory(call.settings.dataDir),
    await controlPlane(call),
  ];
  await printObject({ findings }, call, () => findings.map(asLine).join(""));
  return findings.some(({ verdict }) => verdict === "fail") ? EXIT.error : EXIT.done;
}

function asLine({ check, verdict, found, next }: Finding): string {
  const advice = next === undefined ? "" : `\n      next: ${next}`;
  return `${verdict.padEnd(4)}  ${check}: ${found}${advice}\n`;
}

function node(): Finding {
  return { check: "node", verdict: "ok", found: `${process.versions.node} (${process.execPath})` };
}

function python(call: Invocation): readonly Finding[] {
  let interpreter: string | undefined;
  try {
    interpreter = pythonIfReady(call.io.env as NodeJS.ProcessEnv);
  } catch (error) {
    const { what, next } = failureOf(error);
    return [{ check: "python", verdict: "fail", found: what, ...(next === null ? {} : { next }) }];
  }
  if (interpreter === undefined) {
    const next = "shardctl up makes it (about 5.5 GB), or name one in SHARDWRIGHT_PYTHON";
    return [
      {
        check: "python",
        verdict: "warn",
        found: "the trainer's environment is not made yet",
        next,
      },
    ];
  }
  const probe = spawnSync(interpreter, ["-c", PROBE], {
    encoding: "utf8",
    env: { ...process.env, PYTHONPATH: trainerPath() },
  });
  if (probe.status === 0)
    return [{ check: "python", verdict: "ok", found: `${probe.stdout.trim()} (${interpreter})` }];
  const found = probe.stderr.trim().split("\n").at(-1) ?? "it does not start";
  return [
    {
      check: "python",
      verdict: "fail",
      found,
      next: "install the trainer's requirements there, or unset SHARDWRIGHT_PYTHON",
    },
  ];
}

const PROBE =
  "import sys, torch, transformers, peft, grpc, shardwright_trainer; print(f'{sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, CUDA {torch.cuda.is_available()}')";

function dataDirectory(folder: string): readonly Finding[] {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK);
  } catch (error) {
    return [
      {
        check: "data directory",
        verdict: "fail",
        found: (error as Error).message,
        next: "name another one with --data-dir",
      },
    ];
  }
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const isShort = free < DISK_BYTES_WANTED;
  const findings: Finding[] = [
    {
      check: "data directory",
      verdict: isShort ? "warn" : "ok",
      found: `${folder}, ${bytes(free)} free`,
      ...(isShort ? { next: "free some space, or name another one with --data-dir" } : {}),
    },
  ];
  const token = `${folder}/token`;
  if (existsSync(token) && (statSync(token).mode & 0o077) !== 0) {
    findings.push({
      check: "token",
      verdict: "fail",
      found: `${token} can be read by others`,
      next: `chmod 600 ${token}`,
    });
  }
  return findings;
}

async function controlPlane(call: Invocation): Promise<Finding> {
  const check = "control plane";
  try {
    if (call.settings.server === null && readServerFile(call.settings.dataDir) === null) {
      return {
        check,
        verdict: "warn",
        found: "not running for this data directory",
        next: `${call.io.program} up --detach`,
      };
    }
    const begun = call.io.now();
    const found = await withJobs(
      call,
      async (jobs) => `${jobs.address}, ${(await jobs.list()).jobs.length} jobs`,
    );
    return { check, verdict: "ok", found: `${found}, answered in ${call.io.now() - begun} ms` };
  } catch (error) {
    const { what, next } = failureOf(error);
    return { check, verdict: "fail", found: what, ...(next === null ? {} : { next }) };
  }
}
