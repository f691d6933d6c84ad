import { EXIT, type ExitCode } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { formatOf, machine } from "../output.ts";
import { drawBlockMap, drawRuns } from "../render/block-map.ts";
import { speaksUnicode } from "../render/glyphs.ts";
import { blockMapToObject } from "../rpc/block-map-object.ts";
import { withJobs } from "../rpc/jobs.ts";

/** Who owns and who replicates which blocks, as a picture; `-o wide` lists the runs of blocks below it. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io, settings } = call;
  const name = jobName(call.args[0], "shardctl blockmap JOB");
  const format = formatOf(call, ["text", "wide", "json", "yaml", "jsonpath"]);
  return await withJobs(call, async (jobs) => {
    const [map, members, generations] = await Promise.all([
      jobs.blockMap(name),
      jobs.members(name),
      jobs.generations(name),
    ]);
    const picture = blockMapToObject(name, map, { members, generations });
    if (format.kind !== "text" && format.kind !== "wide") {
      io.out(await machine(picture, format));
      return EXIT.done;
    }
    if (picture === null) {
      io.err(`job ${name} has had no generation yet\n`);
      return EXIT.done;
    }
    const canvas = {
      columns: io.columns,
      unicode: io.stdoutIsTty && speaksUnicode(io.env),
      color: io.stdoutIsTty && settings.color,
    };
    io.out(drawBlockMap(picture, canvas));
    if (format.kind === "wide") io.out(`\n${drawRuns(picture)}`);
    return EXIT.done;
  });
}
