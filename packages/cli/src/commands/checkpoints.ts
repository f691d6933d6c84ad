import type { CheckpointSummary } from "@shardwright/proto/gen/shardwright/v1/checkpoint";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { formatOf, machine, printList, printObject } from "../output.ts";
import { age } from "../render/duration.ts";
import { visible } from "../render/escape.ts";
import { bytes } from "../render/quantity.ts";
import type { Column } from "../render/table.ts";
import { type Checkpoints, withCheckpoints } from "../rpc/checkpoints.ts";
import { withJobs } from "../rpc/jobs.ts";

export async function list(call: Invocation): Promise<ExitCode> {
  return await listCheckpoints(call, call.args[0]);
}

/** Also `get checkpoints [JOB]`. */
export async function listCheckpoints(
  call: Invocation,
  reference: string | undefined,
): Promise<ExitCode> {
  const run = reference === undefined ? "" : await runOf(call, reference);
  const rows = await withCheckpoints(call, (checkpoints) => checkpoints.list(run));
  const listing = {
    rows,
    columns: columns(call.io.now(), run === ""),
    object: toObject,
    name: (row: CheckpointSummary) => `checkpoint/${row.commit}`,
    empty: run === "" ? "no checkpoints" : `job ${reference} has no checkpoint yet`,
  };
  await printList(listing, call);
  return EXIT.done;
}

/** The newest commit, or the one that is named. */
export async function inspect(call: Invocation): Promise<ExitCode> {
  const format = formatOf(call, ["json", "yaml", "jsonpath"]);
  const run = await runOf(call, call.args[0]);
  const found = await withCheckpoints(call, (checkpoints) =>
    commitOf(checkpoints, run, call.args[1]),
  );
  call.io.out(await machine(toObject(found), format));
  return EXIT.done;
}

/** Reads the checkpoint back. Damage is exit 1, each problem on its line. */
export async function verify(call: Invocation): Promise<ExitCode> {
  const { io, flags } = call;
  const run = await runOf(call, call.args[0]);
  return await withCheckpoints(call, async (checkpoints) => {
    const { commit } = await commitOf(checkpoints, run, call.args[1]);
    const begun = io.now();
    const answer = await checkpoints.verify(run, commit, flags.text("level") ?? "crc");
    const { problems, bytesRead } = answer;
    await printObject({ commit, ok: problems.length === 0, bytesRead, problems }, call, () => {
      const said = problems.map(({ code, message }) => `${code}: ${visible(message)}\n`).join("");
      const took = ((io.now() - begun) / 1000).toFixed(1);
      return `${said}${commit}: ${problems.length === 0 ? "sound" : "DAMAGED"}, ${bytes(bytesRead)} read in ${took} s\n`;
    });
    return problems.length === 0 ? EXIT.done : EXIT.error;
  });
}

/** The uid of a job names its run. */
async function runOf(call: Invocation, reference: string | undefined): Promise<string> {
  const name = jobName(reference, "shardctl checkpoints list JOB");
  return (await withJobs(call, (jobs) => jobs.get(name))).uid;
}

async function commitOf(
  checkpoints: Checkpoints,
  run: string,
  wanted: string | undefined,
): Promise<CheckpointSummary> {
  const all = await checkpoints.list(run);
  const committed = all.filter(({ status }) => status === "committed");
  const newest = [...committed].sort((a, b) =>
    Number(b.step - a.step || b.generation - a.generation),
  )[0];
  const found = wanted === undefined ? newest : all.find(({ commit }) => commit === wanted);
  if (found !== undefined) return found;
  throw new Refusal(
    EXIT.error,
    wanted === undefined ? "the job has no checkpoint yet" : `there is no commit ${wanted}`,
    {
      next: "shardctl checkpoints list JOB",
    },
  );
}

function columns(nowMs: number, withRun: boolean): readonly Column<CheckpointSummary>[] {
  return [
    ...(withRun ? [{ title: "RUN", cell: ({ run }: CheckpointSummary) => run }] : []),
    { title: "STEP", right: true, cell: ({ step }) => `${step}` },
    { title: "GENERATION", right: true, cell: ({ generation }) => `${generation}` },
    { title: "STATUS", cell: ({ status }) => status },
    { title: "TRIGGER", cell: ({ trigger }) => trigger },
    { title: "SIZE", right: true, cell: (row) => bytes(row.bytes) },
    { title: "RANKS", right: true, cell: ({ worldSize }) => `${worldSize}` },
    {
      title: "AGE",
      right: true,
      cell: ({ createdTime }) =>
        createdTime === undefined ? "" : age(nowMs - createdTime.getTime()),
    },
    { title: "COMMIT", cell: ({ commit }) => commit },
    { title: "PATH", wide: true, cell: ({ path }) => path },
  ];
}

function toObject(row: CheckpointSummary): Readonly<Record<string, unknown>> {
  return {
    run: row.run,
    commit: row.commit,
    step: row.step,
    generation: row.generation,
    status: row.status,
    trigger: row.trigger,
    bytes: row.bytes,
    worldSize: row.worldSize,
    merkle: row.merkle,
    stateDigest: row.stateDigest,
    path: row.path,
    time: row.createdTime?.toISOString() ?? null,
  };
}
