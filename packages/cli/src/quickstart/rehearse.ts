import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DISTURBED, nameWith, UNDISTURBED } from "../exactness/variants.ts";
import { parseDocuments } from "../yaml-documents.ts";

/** Enough steps to kill in the middle and train on; two runs of them stay below 90 s on two quiet cores. */
export const STEPS = 12;
/** Kills a rank after step 5 of 12. */
export const SEED = 11;
const NAME = "addresses-rehearsal";

/** What the rehearsal needs of the quickstart that calls it. */
export interface Stage {
  /** `shardctl`, as the user calls it. */
  readonly program: string;
  /** Where the job file goes, so that the user can run it again. */
  readonly folder: string;
  /** The quickstart's own job. */
  readonly jobText: string;
  say(line: string): void;
  /** Prints the command, runs it with our terminal; throws when it fails. */
  shown(args: readonly string[]): Promise<void>;
  quiet(args: readonly string[]): Promise<unknown>;
}

/** Runs a short version of the job twice, kills a rank in one of them and shows that the bits are the same. */
export async function rehearse(stage: Stage): Promise<void> {
  const { say } = stage;
  say("Rehearsal: the same job on a small scale, a rank is killed in front of you");
  say(
    `  ${STEPS} steps undisturbed, then the same ${STEPS} steps with a kill -9 of one of the two ranks;`,
  );
  say("  weights, optimizer state and consumed data must come out bit for bit the same\n");
  // What an interrupted rehearsal left; the names are ours.
  for (const ending of [UNDISTURBED, DISTURBED]) {
    const job = `job/${nameWith(NAME, ending)}`;
    await stage.quiet(["delete", job, "--checkpoints", "--ignore-not-found", "--yes"]);
  }
  await stage.shown(argumentsFor(writeRehearsal(stage)));
  say("");
}

/** Says how to see it, when nothing was trained in this run. */
export function sayHow(stage: Stage): void {
  const words = argumentsFor(writeRehearsal(stage));
  stage.say(
    "Nothing had to be trained this time. To see a rank being killed and the bits come out the same:",
  );
  stage.say(`  ${stage.program} up --detach`);
  stage.say(`  ${stage.program} ${words.join(" ")}\n`);
}

function argumentsFor(file: string): readonly string[] {
  return ["verify-exact", "-f", file, "--kills", "1", "--prey", "rank", "--seed", `${SEED}`];
}

function writeRehearsal({ folder, jobText }: Stage): string {
  const file = join(folder, "rehearsal.json");
  writeFileSync(file, `${JSON.stringify(rehearsalDocument(jobText), undefined, 2)}\n`);
  return file;
}

/** Pure: the quickstart's job under another name and with fewer steps; model, data and members stay. */
export function rehearsalDocument(jobText: string): object {
  const parsed = parseDocuments(jobText);
  const document = (parsed.ok ? parsed.documents[0] : undefined) as
    | { readonly metadata: object; readonly spec: { readonly train: object } }
    | undefined;
  if (document === undefined) throw new Error("the quickstart's job file holds no job");
  const { spec } = document;
  return {
    ...document,
    metadata: { ...document.metadata, name: NAME },
    spec: { ...spec, train: { ...spec.train, maxSteps: STEPS } },
  };
}
