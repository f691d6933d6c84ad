import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, hashesOf, python } from "../e2e/harness.ts";
import { Arena, calmShape, chaosJob } from "./arena.ts";
import { judge } from "./judge.ts";
import { brokenPython, COPY, MUTANTS, type Patch } from "./mutants.ts";
import type { Method, Schedule } from "./schedule.ts";
import { testimonyOf } from "./testimony.ts";
import type { Hashes } from "./verdict.ts";

// A suite that never fails proves nothing: here the product is broken on purpose, and the oracle must say so.

let folder: string;
let place: string;
const expected = new Map<Method, Hashes>();

beforeAll(async () => {
  folder = await fixtures();
  place = mkdtempSync(join(tmpdir(), "shardwright-mutants-"));
  const arena = await Arena.start(folder);
  try {
    for (const method of ["lora", "full"] as const) {
      const shape = calmShape({ method, steps: COPY.steps });
      const job = await arena.embedded.finish(chaosJob(folder, `calm-${method}`, shape));
      expected.set(method, hashesOf(job));
    }
  } finally {
    await arena.close();
  }
}, 300_000);
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** What the suite has to say of a trainer with these patches. */
async function verdictOn(schedule: Schedule, patches: readonly Patch[]): Promise<string> {
  const own = mkdtempSync(join(place, "trainer-"));
  const arena = await Arena.start(folder, brokenPython(own, python(), patches));
  try {
    const calm = expected.get(schedule.method);
    if (calm === undefined) throw new Error("no undisturbed run of this method");
    const { done, violations } = await judge(arena, "mutant", schedule, calm);
    if (done < schedule.deeds.length) throw new Error("the job ended before it was disturbed");
    return violations.join("\n");
  } catch (error) {
    console.error(testimonyOf(arena, "mutant", schedule));
    throw error;
  } finally {
    await arena.close();
  }
}

describe.concurrent("the chaos suite", () => {
  it("has nothing to say of a copy that is not broken", async () => {
    expect(await verdictOn(COPY, [])).toBe("");
  });

  it.each(MUTANTS)("notices when $name", async ({ schedule, patches, notices }) => {
    expect(await verdictOn(schedule, patches)).toContain(notices);
  });
});
