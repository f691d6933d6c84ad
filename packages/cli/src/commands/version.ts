import { EXIT, type ExitCode } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { printObject } from "../output.ts";
import { VERSION } from "../version.ts";

/** One line, or an object with the versions of what runs it. */
export async function run(call: Invocation): Promise<ExitCode> {
  const facts = {
    version: VERSION,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
  };
  await printObject(facts, call, () => `shardctl ${VERSION}\n`);
  return EXIT.done;
}
