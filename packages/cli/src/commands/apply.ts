import { readDocuments, type SourceDocument } from "../documents.ts";
import { EXIT, type ExitCode, failureOf, Refusal } from "../exit.ts";
import { followJob } from "../follow.ts";
import type { Invocation } from "../invocation.ts";
import { formatOf, machine } from "../output.ts";
import { visible } from "../render/escape.ts";
import { list } from "../render/json.ts";
import { type Jobs, type Submitted, withJobs } from "../rpc/jobs.ts";

/** Submits every document, in order; with --wait or --follow stays until each job has ended. */
export async function run(call: Invocation): Promise<ExitCode> {
  const documents = await readDocuments(call.flags.list("filename"), call.io);
  const where = call.flags.text("dry-run");
  if (where === "client") return checkOnly(documents, call);
  return await withJobs(call, async (jobs) => {
    const applied: Submitted[] = [];
    let worst: ExitCode = EXIT.done;
    for (const document of documents) {
      try {
        applied.push(await applyJob(jobs, document, { call, dryRun: where === "server" }));
      } catch (error) {
        // The others are still wanted; kubectl goes on as well.
        if (documents.length === 1) throw error;
        worst = sayFailure(document, error, call);
      }
    }
    await print(applied, call);
    if (worst !== EXIT.done || where !== undefined) return worst;
    return await followAll(jobs, applied, call);
  });
}

/** Creates or updates one job; warnings go to stderr. */
export async function applyJob(
  jobs: Jobs,
  document: SourceDocument,
  { call, dryRun }: { readonly call: Invocation; readonly dryRun: boolean },
): Promise<Submitted> {
  const submitted = await jobs.submit(JSON.stringify(document.value), dryRun);
  for (const warning of submitted.warnings) call.io.err(`warning: ${visible(warning)}\n`);
  return submitted;
}

async function print(applied: readonly Submitted[], call: Invocation): Promise<void> {
  const format = formatOf(call, ["text", "json", "yaml", "name", "jsonpath"]);
  const suffix = call.flags.text("dry-run") === undefined ? "" : " (dry run)";
  if (format.kind === "text" || format.kind === "name") {
    for (const { job, outcome } of applied) {
      const said = format.kind === "name" ? "" : ` ${outcome}${suffix}`;
      call.io.out(`finetunejob.shardwright.dev/${job.name}${said}\n`);
    }
    return;
  }
  const { jobToObject } = await import("@shardwright/job/job-object");
  const objects = applied.map(({ job }) => jobToObject(job));
  call.io.out(await machine(objects.length === 1 ? objects[0] : list(objects), format));
}

async function followAll(
  jobs: Jobs,
  applied: readonly Submitted[],
  call: Invocation,
): Promise<ExitCode> {
  const shown = call.flags.on("follow");
  if (!shown && !call.flags.on("wait")) return EXIT.done;
  const timeoutMs = call.flags.duration("timeout") ?? 0;
  let worst: ExitCode = EXIT.done;
  for (const { job } of applied) {
    const exit = await followJob(jobs, job.name, { io: call.io, timeoutMs, shown });
    if (worst === EXIT.done) worst = exit;
  }
  return worst;
}

/** Without a server: everything the parser has to say. */
async function checkOnly(
  documents: readonly SourceDocument[],
  call: Invocation,
): Promise<ExitCode> {
  const { parseJobDocument } = await import("@shardwright/job/parse");
  let worst: ExitCode = EXIT.done;
  for (const document of documents) {
    const parsed = parseJobDocument(document.value);
    if (!parsed.ok) {
      const why = parsed.complaints.map(({ path, problem }) => `${path}: ${problem}`);
      worst = sayFailure(document, new Refusal(EXIT.usage, "not a valid job", { why }), call);
      continue;
    }
    for (const warning of parsed.warnings) call.io.err(`warning: ${visible(warning)}\n`);
    call.io.out(`finetunejob.shardwright.dev/${parsed.document.metadata.name} valid (dry run)\n`);
  }
  return worst;
}

function sayFailure(document: SourceDocument, error: unknown, call: Invocation): ExitCode {
  const failure = failureOf(error);
  call.io.err(`error: ${document.origin}: ${visible(failure.what)}\n`);
  for (const line of failure.why) call.io.err(`  why: ${visible(line)}\n`);
  return failure.exit;
}
