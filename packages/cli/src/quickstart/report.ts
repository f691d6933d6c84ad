import { beforeAfter, comparisonTable, type Evaluated } from "./compare.ts";

/** What every training row began with; the tuned model expects it. */
const SYSTEM_MESSAGE =
  "Parse the US address as JSON with keys number, street, unit, city, state, zip.";

export interface Outcome {
  readonly base: Evaluated;
  readonly fourExamples: Evaluated;
  readonly tuned: Evaluated;
  readonly adapter: string;
  readonly program: string;
}

/** What the quickstart says before it starts: what will happen, how large and how long it is. */
export const INTRODUCTION = [
  "Shardwright quickstart: tune a real 135M-parameter chat model to turn US addresses into JSON,",
  "on this machine's CPU, as two ranks that share the work.",
  "",
  "  model    SmolLM2-135M-Instruct (Apache-2.0), 93 MB download, 540 MB on disk after conversion",
  "  data     real addresses labelled by people, from usaddress 0.5.16 (MIT), 0.9 MB download",
  "  time     about 6 minutes on two quiet cores, then one for a rehearsal of a kill (--no-rehearsal skips it);",
  "           a second run takes seconds",
  "",
];

/** The result: scores side by side, a few answers before and after, and where the adapter is. */
export function resultLines(outcome: Outcome): string[] {
  const { base, fourExamples, tuned, adapter } = outcome;
  return [
    "",
    `On ${tuned.scores.rows} held-out addresses (none of their streets was trained on):`,
    "",
    ...comparisonTable([
      { label: "base", scores: base.scores },
      { label: "base + 4 examples", scores: fourExamples.scores },
      { label: "tuned", scores: tuned.scores },
    ]),
    "",
    ...beforeAfter(base, tuned),
    `The adapter is in ${adapter}`,
    "PEFT loads it as it is: PeftModel.from_pretrained(base, DIRECTORY).",
    "",
  ];
}

/** What to type next. */
export function nextLines(program: string, job: string): string[] {
  const steps: readonly (readonly [string, string])[] = [
    [
      `chat ft:${job} --system "${SYSTEM_MESSAGE}"`,
      "talk to the tuned model; try an address of your own",
    ],
    ["up --detach", "start the services again, then:"],
    ["data check my.jsonl", "look at your own chat rows"],
    [
      `get job ${job} -o yaml > my-job.yaml`,
      "a job file to start from: change its name and data.train",
    ],
    ["apply -f my-job.yaml --follow", "tune on them"],
    ["chaos my-job kill-rank", "while it trains: kill a rank, and watch it go on"],
  ];
  return ["Next:", ...steps.flatMap(([verb, why]) => [`  ${program} ${verb}`, `      ${why}`])];
}

/** The tuned model must clearly beat both; far below what three seeds gave (docs/quickstart.md). */
export const EXACT_MATCH_MIN = 0.4;
export const FIELD_F1_MIN = 0.75;

/** Why the result is not what it should be; empty when all is well. */
export function shortfalls(outcome: Outcome): string[] {
  const { base, fourExamples, tuned } = outcome;
  const found: string[] = [];
  if (tuned.scores.exact_match < EXACT_MATCH_MIN)
    found.push(`exact match ${tuned.scores.exact_match} is below ${EXACT_MATCH_MIN}`);
  if (tuned.scores.field_f1 < FIELD_F1_MIN)
    found.push(`field F1 ${tuned.scores.field_f1} is below ${FIELD_F1_MIN}`);
  for (const other of [base, fourExamples]) {
    if (tuned.scores.exact_match <= other.scores.exact_match)
      found.push("the tuned model does not beat the base model");
  }
  return found;
}
