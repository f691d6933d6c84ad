import { embeddedServer } from "../chaos/embedded.ts";
import type { Prey } from "../chaos/schedule.ts";
import { readDocuments } from "../documents.ts";
import { type Exactness, runBoth } from "../exactness/run.ts";
import { DISTURBED, UNDISTURBED, type Variants, variantsOf } from "../exactness/variants.ts";
import { comparisonTable, disturbanceLine } from "../exactness/verdict.ts";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { formatOf, printObject } from "../output.ts";
import { type Jobs, withJobs } from "../rpc/jobs.ts";

const KILLS_DEFAULT = 3;
const SEED_DEFAULT = 1;
// A reader's patience ends before this, and so do the failure budgets of a job.
const KILLS_MAX = 100;

/** Runs a job undisturbed and disturbed and compares their bits; 0 when all are the same, else 1. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io, flags } = call;
  formatOf(call, ["text", "json", "yaml", "jsonpath"]);
  embeddedServer(call, "verify-exact");
  const kills = flags.count("kills") ?? KILLS_DEFAULT;
  if (kills < 1 || kills > KILLS_MAX) {
    throw new Refusal(EXIT.usage, `--kills ${kills}: expected 1 to ${KILLS_MAX}`);
  }
  const seed = flags.count("seed") ?? SEED_DEFAULT;
  const variants = await readVariants(call);
  return await withJobs(call, async (jobs) => {
    await refuseTaken(jobs, variants, io.program);
    let isKept = flags.on("keep");
    try {
      const exactness = await runBoth(jobs, variants, {
        io,
        kills,
        seed,
        prey: (flags.text("prey") ?? "any") as Prey | "any",
        timeoutMs: flags.duration("timeout") ?? 0,
      });
      return await report(exactness, { kills, seed }, call);
    } catch (error) {
      // Of a job that failed, people want to know why.
      isKept ||= error instanceof Refusal && error.exit === EXIT.jobFailed;
      throw error;
    } finally {
      if (!isKept) await forget(jobs, variants);
    }
  });
}

/** Exactly one valid document, as its two variants. */
async function readVariants(call: Invocation): Promise<Variants> {
  const { io, flags } = call;
  const documents = await readDocuments(flags.list("filename"), io);
  const [document] = documents;
  if (document === undefined || documents.length > 1) {
    throw new Refusal(EXIT.usage, `${documents.length} jobs were given; expected one`);
  }
  const members = flags.count("members");
  if (members === 0) throw new Refusal(EXIT.usage, "--members 0: expected 1 or more");
  const variants = variantsOf(document.value, members);
  const { parseJobDocument } = await import("@shardwright/job/parse");
  // The name as the user wrote it: a wrong one must not become right by its ending.
  for (const value of [document.value, variants.disturbed]) {
    const parsed = parseJobDocument(value);
    if (!parsed.ok) {
      const why = parsed.complaints.map(({ path, problem }) => `${path}: ${problem}`);
      throw new Refusal(EXIT.usage, `${document.origin} is not a valid job`, { why });
    }
  }
  refuseFast(variants, document.origin);
  return variants;
}

/** Its two runs may differ with nothing being wrong: a kill changes the world, and the world the order of sums. */
function refuseFast({ disturbed }: Variants, origin: string): void {
  const { exactness } = disturbed["spec"] as { readonly exactness?: unknown };
  if (exactness !== "fast") return;
  throw new Refusal(
    EXIT.usage,
    `${origin}: spec.exactness is fast, so there is nothing to verify`,
    {
      why: "a fast job does not promise the same bits when the number of ranks changes, and a kill changes it",
      next: "set spec.exactness to exact, or leave it out",
    },
  );
}

/** Nothing of a user's is overwritten, even under a name that looks like ours. */
async function refuseTaken(jobs: Jobs, variants: Variants, program: string): Promise<void> {
  const { jobs: present } = await jobs.list();
  const taken = namesOf(variants).filter((name) => present.some((job) => job.name === name));
  if (taken.length === 0) return;
  throw new Refusal(EXIT.error, `there is a job ${taken.join(" and a job ")} already`, {
    why: `the two runs are named NAME${UNDISTURBED} and NAME${DISTURBED}; --keep or an interrupted run leaves them`,
    next: taken.map((name) => `${program} delete job/${name} --checkpoints --yes`).join(" && "),
  });
}

async function forget(jobs: Jobs, variants: Variants): Promise<void> {
  for (const name of namesOf(variants)) {
    // One that never came to be, or a control plane that is gone: what was found out matters more.
    await jobs.remove(name, true).catch(() => undefined);
  }
}

function namesOf({ undisturbed, disturbed }: Variants): readonly string[] {
  return [undisturbed, disturbed].map(
    ({ metadata }) => (metadata as { readonly name: string }).name,
  );
}

async function report(
  { undisturbed, disturbed, made, comparisons }: Exactness,
  wanted: { readonly kills: number; readonly seed: number },
  call: Invocation,
): Promise<ExitCode> {
  const isExact = comparisons.every(({ same }) => same);
  const object = {
    exact: isExact,
    seed: wanted.seed,
    kills: made,
    recoveries: disturbed.status.recoveries,
    steps: undisturbed.status.progress?.totalSteps ?? 0,
    hashes: comparisons,
  };
  await printObject(object, call, () =>
    [
      `${disturbanceLine(disturbed, made.length)}\n`,
      comparisonTable(comparisons),
      isExact ? "exact: every bit is the same\n" : "not exact: the runs differ\n",
    ].join(""),
  );
  if (made.length < wanted.kills) {
    const { err } = call.io;
    err(
      `warning: the job ended after ${made.length} of ${wanted.kills} kills; give it more steps\n`,
    );
    // Two undisturbed runs prove nothing.
    if (made.length === 0) return EXIT.error;
  }
  return isExact ? EXIT.done : EXIT.error;
}
