import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, isJobKind, jobName } from "../invocation.ts";
import { type Listing, printList } from "../output.ts";

/** `get KIND [NAME]`, also `get KIND/NAME`. */
export async function run(call: Invocation): Promise<ExitCode> {
  const [first = "", second] = call.args;
  const slash = first.indexOf("/");
  if (slash >= 0 && second !== undefined) {
    throw new Refusal(EXIT.usage, `too many words: "${second.slice(0, 40)}"`, {
      why: `"${first}" names one already`,
      next: "shardctl get --help",
    });
  }
  const kind = slash < 0 ? first : first.slice(0, slash);
  const name = slash < 0 ? second : first.slice(slash + 1);
  if (isJobKind(kind)) return await getJobs(call, name);
  switch (kind) {
    case "member":
    case "members":
      return await getMembers(call, jobName(name, "shardctl get members JOB"));
    case "generation":
    case "generations":
      return await getGenerations(call, jobName(name, "shardctl get generations JOB"));
    case "checkpoint":
    case "checkpoints":
    case "ckpt": {
      const { listCheckpoints } = await import("./checkpoints.ts");
      return await listCheckpoints(call, name);
    }
    default:
      throw new Refusal(EXIT.usage, `unknown kind "${kind}"`, {
        why: "expected jobs, members, generations or checkpoints",
      });
  }
}

async function getJobs(call: Invocation, name: string | undefined): Promise<ExitCode> {
  const [{ withJobs }, { jobToObject }, { jobColumns }] = await Promise.all([
    import("../rpc/jobs.ts"),
    import("@shardwright/job/job-object"),
    import("../render/job-table.ts"),
  ]);
  return await withJobs(call, async (jobs) => {
    const only = name === undefined ? null : jobName(name, "shardctl get job NAME");
    const found =
      only === null ? await jobs.list() : { jobs: [await jobs.get(only)], revision: 0n };
    const listing = {
      columns: jobColumns(call.io.now()),
      object: jobToObject,
      name: (job: { readonly name: string }) => `finetunejob.shardwright.dev/${job.name}`,
      single: only !== null,
      empty: `no jobs in ${call.settings.tenant}; submit one: ${call.io.program} apply -f job.yaml`,
    };
    const print = (rows: typeof found.jobs): Promise<void> => printList({ ...listing, rows }, call);
    await print(found.jobs);
    if (!call.flags.on("watch")) return EXIT.done;
    for await (const { job } of jobs.watch(only ?? "", found.revision)) {
      if (job !== null) await printList({ ...listing, rows: [job], single: true }, call);
    }
    return EXIT.done;
  });
}

async function getMembers(call: Invocation, job: string): Promise<ExitCode> {
  const [{ withJobs }, { memberColumns, memberToObject }] = await Promise.all([
    import("../rpc/jobs.ts"),
    import("../rpc/member-object.ts"),
  ]);
  return await withJobs(call, async (jobs) => {
    await printRows(call, {
      rows: await jobs.members(job),
      columns: memberColumns(),
      object: memberToObject,
      name: (member) => `member/${member.name}`,
      empty: `job ${job} has no members now`,
    });
    return EXIT.done;
  });
}

async function getGenerations(call: Invocation, job: string): Promise<ExitCode> {
  const [{ withJobs }, { generationColumns, generationToObject }] = await Promise.all([
    import("../rpc/jobs.ts"),
    import("../rpc/member-object.ts"),
  ]);
  return await withJobs(call, async (jobs) => {
    await printRows(call, {
      rows: await jobs.generations(job),
      columns: generationColumns(call.io.now()),
      object: generationToObject,
      name: (generation) => `generation/${generation.generation}`,
      empty: `job ${job} has had no generation yet`,
    });
    return EXIT.done;
  });
}

function printRows<Row>(call: Invocation, listing: Listing<Row>): Promise<void> {
  return printList(listing, call);
}
