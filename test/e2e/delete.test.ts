import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Embedded, fixtures, tinyJob } from "./harness.ts";

let plane: Embedded;
let folder: string;
beforeAll(async () => {
  folder = await fixtures();
  plane = await Embedded.start();
});
afterAll(() => plane.stop());

/** When the services are killed: by what is left of the checkpoints, or by the clock. */
const MOMENTS: readonly ((checkpoints: string) => Promise<void>)[] = [
  // The last thing that is left is the row.
  async (checkpoints) => {
    while (existsSync(checkpoints)) await sleep(1);
  },
  // About when the call comes: the command takes a third of a second to start.
  () => sleep(380),
];
const GONE_MS_MAX = 20_000;

it("a job is deleted with its checkpoints, or not at all, when the services are killed meanwhile", async () => {
  const checkpoints = (uid: string): string => join(plane.dataDir, "checkpoints", uid);
  let known: string | null = null;
  const seen: string[] = [];
  for (const [round, moment] of MOMENTS.entries()) {
    const uid: string =
      known ??
      (await plane.finish(tinyJob(folder, { name: `doomed-${round}`, members: 1, steps: 2 })))
        .metadata.uid;
    const name = known === null ? `doomed-${round}` : (seen.at(-1) ?? "");
    expect(readdirSync(checkpoints(uid)).length).toBeGreaterThan(0);
    const asked = plane.ctl("delete", "job", name, "--checkpoints", "--yes");
    await moment(checkpoints(uid));
    await plane.killServices();
    const { code } = await asked;
    await plane.up();
    const isThere = async (): Promise<boolean> => (await plane.ctl("get", "job", name)).code === 0;
    if (code === 0) expect(await isThere()).toBe(false); // what was answered holds
    const { reason } = (await isThere()) ? (await plane.job(name)).status : { reason: null };
    const isMarked = reason?.code === "Deleting";
    const until = Date.now() + GONE_MS_MAX;
    while (isMarked && (await isThere()) && Date.now() < until) await sleep(100);
    expect([name, existsSync(checkpoints(uid))]).toEqual([name, await isThere()]);
    known = (await isThere()) ? uid : null;
    seen.push(name);
  }
  const last = seen.at(-1) ?? "";
  expect(
    (await plane.ctl("delete", "job", last, "--checkpoints", "--yes", "--ignore-not-found")).code,
  ).toBe(0);
  expect(
    readdirSync(join(plane.dataDir, "checkpoints")).filter((entry) => !entry.startsWith(".")),
  ).toEqual([]);
});
