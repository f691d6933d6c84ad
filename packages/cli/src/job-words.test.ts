import { describe, expect, it } from "vitest";
import { joinJobWords } from "./job-words.ts";
import { VERBS } from "./verbs.ts";

const COMMIT = "00000000000000000012-0000000001-000";

const joined = (line: string): string => {
  const words = line.split(" ");
  const verb = VERBS.find(({ path }) => path.every((word, at) => words[at] === word));
  if (verb === undefined) throw new Error(`no verb in ${line}`);
  return joinJobWords(verb, words.slice(verb.path.length)).join(" ");
};

describe("a job in two words", () => {
  const takers = VERBS.filter(({ args }) => args.some((argument) => /job/.test(argument)));

  it("is one word for every verb that takes a job", () => {
    expect(takers.length).toBeGreaterThan(10);
    for (const { path, args } of takers) {
      const rest = args.slice(1).map(() => "kill-rank");
      const line = [...path, "job", "seed-3", ...rest].join(" ");
      expect(joined(line)).toBe(["job/seed-3", ...rest].join(" "));
    }
  });

  it.each([
    ["get jobs seed-3", "jobs seed-3"], // a kind of its own, and a name
    ["get members job seed-3", "members job/seed-3"],
    ["get checkpoints ftj seed-3", "checkpoints ftj/seed-3"],
    ["describe job seed-3", "job/seed-3"],
    ["delete seed-3", "seed-3"],
    ["delete job/seed-3", "job/seed-3"],
    ["delete job", "job"], // a job may be called so
    ["chaos job kill-rank", "job kill-rank"], // what the verb wants goes first
    ["chaos job job kill-rank", "job/job kill-rank"],
    [`checkpoints inspect job ${COMMIT}`, `job ${COMMIT}`], // no job is called so
    ["delete pod seed-3", "pod seed-3"], // refused later: no job
    ["data check job seed-3", "job seed-3"],
  ])("%s is %s", (line, words) => {
    expect(joined(line)).toBe(words);
  });
});
