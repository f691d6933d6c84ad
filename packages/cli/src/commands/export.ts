import { resolve } from "node:path";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { bytes } from "../render/quantity.ts";
import { withCheckpoints } from "../rpc/checkpoints.ts";
import { withJobs } from "../rpc/jobs.ts";

// Progress without a terminal: a line per this.
const QUIET_MS = 10_000;

/** Writes an adapter or a model; prints where it is. An output that is complete already is left alone. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { flags, io } = call;
  const name = jobName(call.args[0], "shardctl export job/NAME --out DIR");
  const format = flags.text("format") ?? "peft";
  const merge = flags.on("merge");
  if (merge && format !== "hf") {
    throw new Refusal(EXIT.usage, "--merge writes a whole model: it wants --format hf");
  }
  const { uid } = await withJobs(call, (jobs) => jobs.get(name));
  const request = {
    run: uid,
    commit: flags.text("commit") ?? "",
    format,
    merge,
    outputDirectory: resolve(io.cwd, flags.text("out") ?? ""),
    dtype: flags.text("dtype") ?? "stored",
  };
  io.onInterrupt(
    "export interrupted; run it again, a half-written output is not taken for a whole one",
  );
  return await withCheckpoints(call, async (checkpoints) => {
    const show = rateLine(call);
    for await (const message of checkpoints.export(request)) {
      if (message.kind !== "done") show(message.bytesDone, message.bytesTotal);
      else {
        if (io.stderrIsTty) io.err("\r\u001b[K");
        io.out(`${message.location.replace(/^file:\/\//, "")}\n`);
        return EXIT.done;
      }
    }
    throw new Refusal(EXIT.error, "the export ended before it was done", { next: "run it again" });
  });
}

function rateLine({ io }: Invocation): (done: bigint, total: bigint) => void {
  const begun = io.now();
  let printed = begun;
  return (done, total) => {
    const now = io.now();
    const rate = `${bytes(Math.round(Number(done) / Math.max(0.001, (now - begun) / 1000)))}/s`;
    const line = `${bytes(done)} of ${bytes(total)}  ${rate}`;
    if (io.stderrIsTty) io.err(`\r\u001b[K${line}`);
    else if (now - printed >= QUIET_MS) {
      io.err(`${line}\n`);
      printed = now;
    }
  };
}
