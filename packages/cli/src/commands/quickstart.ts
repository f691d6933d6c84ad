import { INTERRUPTED } from "../../bin/python-environment.mjs";
import { EXIT } from "../exit.ts";
import type { Run } from "../invocation.ts";
import { quickstart } from "../quickstart/run.ts";

/**
 * `shardctl quickstart [--fresh]`: the README's main job. Ctrl-C ends what is running, stops the services that this
 * run has started, says one line and exits with 130; the next run goes on from what is whole.
 */
export const run: Run = async (call) => {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  try {
    return await quickstart(call, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    call.io.err(`${call.io.stderrIsTty ? "\r\u001b[K" : ""}${INTERRUPTED}\n`);
    return EXIT.interrupted;
  }
};
