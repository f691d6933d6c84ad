import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cacheFolder } from "../../packages/cli/bin/python-environment.mjs";
import { BASE, evaluate } from "../../packages/cli/src/quickstart/compare.ts";
import { fixtures, python, ROOT, run } from "./harness.ts";
import { expectClean, interrupt, processesOf } from "./interruption.ts";

const NODE = join(ROOT, "node_modules", ".bin", "node");

let folder: string;
let models: string;
beforeEach(async () => {
  models = join(await fixtures(), "models"); // the Python environment is there
  folder = mkdtempSync(join(tmpdir(), "shardwright-interrupt-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const isModelThere = existsSync(join(cacheFolder(process.env), "quickstart", "facts.json"));

it("leaves one line and no process behind when it is interrupted before anything is made", async () => {
  await interruptsCleanly(/1\. Model and data/);
});

// The services are a session of their own: no Ctrl-C of a terminal reaches them.
it.skipIf(!isModelThere).each([/\$ shardctl up --detach/, /ready: 127/, /is connected and loads/])(
  "stops the services that it has started when it is interrupted at %s",
  interruptsCleanly,
);

async function interruptsCleanly(seen: RegExp): Promise<void> {
  const bootstrap = join(ROOT, "packages", "cli", "bin", "bootstrap.mjs");
  const interrupted = await interrupt({
    command: NODE,
    args: [bootstrap, "quickstart", "--data-dir", join(folder, "state")],
    cwd: ROOT,
    env: { ...process.env, QUICKSTART_INTERRUPTED: folder },
    when: (output) => seen.test(output),
  });
  await expectClean(interrupted, folder);
}

it("scores anew after an interruption, and keeps only whole scores", async () => {
  const row = (i: number): string => {
    const answer = JSON.stringify({ number: `${i}` });
    const messages = [
      { role: "user", content: `${i} Main St` },
      { role: "assistant", content: answer },
    ];
    return JSON.stringify({ messages });
  };
  const data = join(folder, "data");
  mkdirSync(data);
  const rows = Array.from({ length: 4 }, (_, i) => row(i)).join("\n");
  for (const name of ["train", "test"]) writeFileSync(join(data, `${name}.jsonl`), rows);
  const prepared = {
    model: join(models, "tiny-llama"),
    dataDirectory: data,
    rows: { train: 4, validation: 0, test: 4 },
  };
  const evaluations = join(data, "evaluations");
  const stop = new AbortController();
  const quiet = (): void => undefined;
  const interrupted = evaluate(python(), prepared, BASE, { signal: stop.signal, progress: quiet });
  interrupted.catch(quiet); // looked at below
  // Torch is being loaded: seconds of work are left.
  await expect.poll(() => mapped(folder).includes("libtorch"), { timeout: 60_000 }).toBe(true);
  stop.abort();
  await expect(interrupted).rejects.toThrow("ended with");
  expect(readdirSync(evaluations)).toEqual([]);
  expect(processesOf(folder)).toEqual([]);
  let heard = 0;
  const watching = { signal: new AbortController().signal, progress: () => void heard++ };
  const whole = await evaluate(python(), prepared, BASE, watching);
  expect(whole.answers).toHaveLength(whole.scores.rows);
  expect(readdirSync(evaluations)).toHaveLength(1);
  const before = heard;
  expect(await evaluate(python(), prepared, BASE, watching)).toEqual(whole);
  expect(heard).toBe(before); // what is whole is not made again
});

/** Files that processes which name `text` have mapped, as /proc has them. */
function mapped(text: string): string {
  const maps = processesOf(text).map((line) => `/proc/${Number.parseInt(line, 10)}/maps`);
  return maps.map((path) => (existsSync(path) ? readFileSync(path, "utf8") : "")).join("");
}

it.skipIf(!isModelThere)("prepares again what was cut off while it was written", async () => {
  const script = join(ROOT, "deploy", "examples", "quickstart", "prepare.py");
  const target = join(folder, "quickstart");
  mkdirSync(target);
  writeFileSync(join(target, "facts.json"), '{"version": 3, "mod');
  const env = { PYTHONPATH: join(ROOT, "packages", "trainer") };
  const made = await run(python(), [script, target], { env });
  expect(made).toMatchObject({ code: 0, stderr: "" });
  expect(readdirSync(target).sort()).toEqual([
    "facts.json",
    "test.jsonl",
    "train.jsonl",
    "validation.jsonl",
  ]);
});
