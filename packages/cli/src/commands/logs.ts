import type { StreamLogsResponse } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { resuming } from "../follow.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { formatOf } from "../output.ts";
import { visible } from "../render/escape.ts";
import { withJobs } from "../rpc/jobs.ts";

/** Prints log lines; with -f goes on until the job has ended, over losses of the connection. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { flags, io } = call;
  const name = jobName(call.args[0], "shardctl logs JOB");
  const write = writer(call);
  const follow = flags.on("follow");
  const query = {
    follow,
    tail: flags.count("tail") ?? 0,
    rank: flags.count("rank"),
    member: flags.text("member") ?? "",
  };
  return await withJobs(call, async (jobs) => {
    if (!follow) {
      for await (const line of jobs.logs(name, query)) write(line);
      return EXIT.done;
    }
    io.onInterrupt(`job ${name} keeps running; re-attach: ${io.program} logs -f ${name}`);
    const resume = resumePoint();
    const control = {
      say: (line: string) => io.err(`${line}\n`),
      isOver: () => true,
      signal: new AbortController().signal,
    };
    const open = (): AsyncIterable<StreamLogsResponse> => {
      resume.reopened();
      return jobs.logs(name, { ...query, tail: resume.isFirst() ? query.tail : 0 });
    };
    for await (const line of resuming(open, control)) {
      if (resume.isNew(line)) write(line);
    }
    return EXIT.done;
  });
}

/** After a reconnect the server begins again; lines that were shown are recognised by time and count. */
function resumePoint(): {
  reopened(): void;
  isFirst(): boolean;
  isNew(line: StreamLogsResponse): boolean;
} {
  let opened = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  let shownAtLast = 0;
  let skip = 0;
  return {
    reopened: () => {
      opened += 1;
      skip = shownAtLast;
    },
    isFirst: () => opened <= 1,
    isNew: (line) => {
      const ms = line.time?.getTime() ?? 0;
      if (opened > 1 && ms < lastMs) return false;
      if (opened > 1 && ms === lastMs && skip > 0) {
        skip -= 1;
        return false;
      }
      shownAtLast = ms === lastMs ? shownAtLast + 1 : 1;
      lastMs = ms;
      return true;
    },
  };
}

function writer(call: Invocation): (line: StreamLogsResponse) => void {
  const { flags, io } = call;
  const format = formatOf(call, ["text", "json", "raw"]);
  if (format.kind === "raw" && io.stdoutIsTty) {
    throw new Refusal(EXIT.usage, "-o raw is not for a terminal", {
      why: "log text may hold control characters that act on it",
      next: "leave -o away, or send the output to a file",
    });
  }
  if (format.kind === "json") return (line) => io.out(`${JSON.stringify(asObject(line))}\n`);
  const isRaw = format.kind === "raw" || !io.stdoutIsTty;
  return (line) => {
    const time = flags.on("timestamps") ? `${line.time?.toISOString() ?? "-"} ` : "";
    const rank = line.rank === undefined ? "" : `/${line.rank}`;
    const prefix = flags.on("prefix") ? `[${line.member}${rank}] ` : "";
    io.out(`${time}${prefix}${isRaw ? line.text : visible(line.text)}\n`);
  };
}

function asObject(line: StreamLogsResponse): Readonly<Record<string, unknown>> {
  const { time, member, rank, generation, level, text } = line;
  return {
    time: time?.toISOString() ?? null,
    member,
    rank: rank ?? null,
    generation: Number(generation),
    level,
    text,
  };
}
