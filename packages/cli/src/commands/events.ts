import type { Event } from "@shardwright/proto/gen/shardwright/v1/event";
import { EXIT, type ExitCode } from "../exit.ts";
import { resuming } from "../follow.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { type Listing, printList } from "../output.ts";
import { age } from "../render/duration.ts";
import { withJobs } from "../rpc/jobs.ts";

/** The journal's decisions; with -w every new one as it happens. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io } = call;
  const name = call.args[0] === undefined ? "" : jobName(call.args[0], "shardctl events JOB");
  return await withJobs(call, async (jobs) => {
    const rows: Event[] = [];
    for await (const event of jobs.events(name, { follow: false, after: 0n })) rows.push(event);
    const listing = listingOf(name, io.now());
    await printList({ ...listing, rows }, call);
    if (!call.flags.on("watch")) return EXIT.done;
    let after = rows.at(-1)?.sequence ?? 0n;
    const open = (): AsyncIterable<Event> => jobs.events(name, { follow: true, after });
    const control = {
      say: (line: string) => io.err(`${line}\n`),
      isOver: () => false,
      signal: new AbortController().signal,
    };
    for await (const event of resuming(open, control)) {
      after = event.sequence;
      await printList({ ...listing, rows: [event], single: true }, call);
    }
    return EXIT.done;
  });
}

function listingOf(job: string, nowMs: number): Omit<Listing<Event>, "rows"> {
  return {
    columns: [
      {
        title: "AGE",
        right: true,
        cell: ({ time }) => (time === undefined ? "" : age(nowMs - time.getTime())),
      },
      ...(job === "" ? [{ title: "JOB", cell: ({ jobName: of }: Event) => of }] : []),
      { title: "SEVERITY", cell: ({ severity }) => severity },
      { title: "REASON", cell: ({ reason }) => reason?.code ?? "" },
      { title: "GEN", right: true, cell: ({ generation }) => `${generation || ""}` },
      { title: "STEP", right: true, cell: ({ step }) => `${step || ""}` },
      { title: "MESSAGE", cell: ({ reason }) => reason?.sentence ?? "" },
    ],
    object: eventToObject,
    name: (event) => `event/${event.sequence}`,
    empty: job === "" ? "no events yet" : `no events of job ${job}`,
  };
}

/** `{sequence, time, job, severity, reason, sentence, generation, step}`; `reason` is the code. Scripts stand on it. */
export function eventToObject(event: Event): Readonly<Record<string, unknown>> {
  return {
    sequence: event.sequence,
    time: event.time?.toISOString() ?? null,
    job: event.jobName,
    severity: event.severity,
    reason: event.reason?.code ?? "",
    sentence: event.reason?.sentence ?? "",
    generation: event.generation,
    step: event.step,
  };
}
