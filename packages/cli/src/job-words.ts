import { quoted } from "@shardwright/job/units";
import { EXIT, Refusal } from "./exit.ts";
import { isJobKind, isJobName } from "./invocation.ts";
import type { Verb } from "./verb.ts";

// Enough to recognise a word by.
const CHARACTERS_SHOWN = 40;

/** Words of a verb that name a job: `<job>`, `[job]`, and `[name]` after a kind. */
const JOB_WORD = /^[<[](job|name)[\]>]$/;

/**
 * The words of one call with `job NAME` made one word, `job/NAME`, where the verb takes a job. So `delete job seed-3`
 * means what it means to kubectl, and the job that is called "job" keeps its name: two words become one only when the
 * second can be a job's name and enough words are left for what the verb wants.
 */
export function joinJobWords(verb: Verb, words: readonly string[]): readonly string[] {
  const at = verb.args.findIndex((argument) => JOB_WORD.test(argument));
  const [kind, name] = at < 0 ? [] : words.slice(at, at + 2);
  const required = verb.args.filter((argument) => argument.startsWith("<")).length;
  if (kind === undefined || name === undefined) return words;
  if (!isJobKind(kind) || !isJobName(name) || words.length - 1 < required) return words;
  return [...words.slice(0, at), `${kind}/${name}`, ...words.slice(at + 2)];
}

/** Refuses words that the verb would not look at, and says how it is called. */
export function refuseExcess(verb: Verb, words: readonly string[], program: string): void {
  if (verb.passThrough || verb.args.at(-1)?.endsWith("...]")) return;
  const excess = words.slice(verb.args.length);
  if (excess.length === 0) return;
  const usage = [program, ...verb.path, ...verb.args].join(" ");
  const takesJob = verb.args.some((argument) => /job/.test(argument));
  throw new Refusal(
    EXIT.usage,
    `too many words: ${excess.map((word) => `"${quoted(word, CHARACTERS_SHOWN)}"`).join(", ")}`,
    {
      why: `usage: ${usage}${takesJob ? "; a job is NAME, job/NAME or job NAME" : ""}`,
      next: `${program} ${verb.path.join(" ")} --help`,
    },
  );
}
