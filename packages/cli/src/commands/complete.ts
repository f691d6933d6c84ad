import { EXIT, type ExitCode } from "../exit.ts";
import { type Invocation, isJobKind, type Run } from "../invocation.ts";
import { GLOBAL_FLAGS, type Verb } from "../verb.ts";

// A person presses Tab and waits: after this nothing is offered.
const ANSWER_MS_MAX = 500;

/** The verb that offers these verbs: one candidate a line for the last word; never an error, never a message. */
export function completing(verbs: readonly Verb[]): Run {
  return (call) => complete(verbs, call);
}

async function complete(verbs: readonly Verb[], call: Invocation): Promise<ExitCode> {
  const words = call.args[0] === "--" ? call.args.slice(1) : call.args;
  const last = words.at(-1) ?? "";
  const found = await candidates(verbs, { before: words.slice(0, -1), last }, call).catch(() => []);
  const fitting = [...new Set(found)].filter((word) => word.startsWith(last)).sort();
  call.io.out(fitting.map((word) => `${word}\n`).join(""));
  return EXIT.done;
}

async function candidates(
  verbs: readonly Verb[],
  { before, last }: { readonly before: readonly string[]; readonly last: string },
  call: Invocation,
): Promise<readonly string[]> {
  const typed = before.filter((word) => !word.startsWith("-"));
  const shown = verbs.filter(({ hidden }) => hidden !== true);
  const verb = shown.find(({ path }) => path.every((word, i) => typed[i] === word));
  if (verb === undefined) {
    const fitting = shown.filter(({ path }) => typed.every((word, i) => path[i] === word));
    return fitting.map(({ path }) => path[typed.length] ?? "");
  }
  if (last.startsWith("-"))
    return [...verb.flags, ...GLOBAL_FLAGS].map(({ flags }) => longOf(flags));
  const position = typed.length - verb.path.length;
  // After `delete job` comes the name: two words that are one argument.
  const taken = verb.args[position - 1] ?? "";
  const isName = /job|name/.test(taken) && isJobKind(typed.at(-1) ?? "");
  const argument = (isName ? taken : verb.args[position]) ?? "";
  if (/kind/.test(argument)) return ["jobs", "job", "members", "generations", "checkpoints"];
  if (/shell/.test(argument)) return ["bash", "zsh", "fish"];
  if (/job|name/.test(argument)) return await jobNames(call);
  return [];
}

function longOf(flags: string): string {
  return /--[a-z-]+/.exec(flags)?.[0] ?? "";
}

async function jobNames(call: Invocation): Promise<readonly string[]> {
  const { withJobs } = await import("../rpc/jobs.ts");
  const settings = { ...call.settings, requestTimeoutMs: ANSWER_MS_MAX };
  return await withJobs({ ...call, settings }, async (jobs) =>
    (await jobs.list()).jobs.map(({ name }) => name),
  );
}
