import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseJobDocument } from "@shardwright/job/parse";
import { expect, it } from "vitest";
import { killSchedule } from "../chaos/schedule.ts";
import { parseDocuments } from "../yaml-documents.ts";
import { rehearsalDocument, rehearse, SEED, STEPS, type Stage, sayHow } from "./rehearse.ts";

const EXAMPLE = fileURLToPath(
  new URL("../../../../deploy/examples/quickstart/job.yaml", import.meta.url),
);
const JOB = readFileSync(EXAMPLE, "utf8")
  .replaceAll("$" + "{MODEL}", "/models/base")
  .replaceAll("$" + "{DATA}", "/data");

interface Heard {
  readonly stage: Stage;
  readonly said: string[];
  /** Commands in order; those that were not shown begin with `quiet`. */
  readonly ran: string[];
}

function aStage(): Heard {
  const said: string[] = [];
  const ran: string[] = [];
  const stage: Stage = {
    program: "shardctl",
    folder: mkdtempSync(join(tmpdir(), "shardctl-rehearse-")),
    jobText: JOB,
    say: (line) => void said.push(line),
    shown: async (args) => void ran.push(args.join(" ")),
    quiet: async (args) => void ran.push(`quiet ${args.join(" ")}`),
  };
  return { stage, said, ran };
}

it("is the quickstart's job with another name and fewer steps, and nothing else", () => {
  const whole = parseDocuments(JOB);
  const found = rehearsalDocument(JOB) as Record<string, Record<string, unknown>>;
  if (!whole.ok) throw new Error("the example cannot be read");
  const job = whole.documents[0] as typeof found;
  const train = { ...(job["spec"]?.["train"] as object), maxSteps: STEPS };
  expect(found).toEqual({
    ...job,
    metadata: { name: "addresses-rehearsal" },
    spec: { ...job["spec"], train },
  });
  expect(parseJobDocument(found)).toMatchObject({ ok: true });
});

it("kills one rank in the middle", () => {
  const [kill, ...others] = killSchedule({ seed: SEED, kills: 1, totalSteps: STEPS, prey: "rank" });
  expect(others).toEqual([]);
  expect(kill?.prey).toBe("rank");
  expect(kill?.step).toBeGreaterThanOrEqual(4);
  expect(kill?.step).toBeLessThanOrEqual(6);
});

it("clears what an interrupted one left, then verifies", async () => {
  const { stage, said, ran } = aStage();
  await rehearse(stage);
  const file = join(stage.folder, "rehearsal.json");
  expect(ran).toEqual([
    "quiet delete job/addresses-rehearsal-undisturbed --checkpoints --ignore-not-found --yes",
    "quiet delete job/addresses-rehearsal-disturbed --checkpoints --ignore-not-found --yes",
    `verify-exact -f ${file} --kills 1 --prey rank --seed ${SEED}`,
  ]);
  expect(said[0]).toContain("a rank is killed in front of you");
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(rehearsalDocument(JOB));
});

it("fails when the bits differ", async () => {
  const { stage } = aStage();
  const shown = async (): Promise<void> => {
    throw new Error("ended with 1");
  };
  await expect(rehearse({ ...stage, shown })).rejects.toThrow("ended with 1");
});

it("only says how when nothing was trained, with a file that is there", () => {
  const { stage, said, ran } = aStage();
  sayHow(stage);
  expect(ran).toEqual([]);
  const file = join(stage.folder, "rehearsal.json");
  expect(said.join("\n")).toContain(`shardctl verify-exact -f ${file} --kills 1`);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ kind: "FineTuneJob" });
});
