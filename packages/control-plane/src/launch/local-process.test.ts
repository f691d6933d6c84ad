import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@shardwright/service/clock";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  findProcess,
  type LocalProcess,
  type LocalProcessPlan,
  readRecord,
  startProcess,
  stopProcess,
} from "./local-process.ts";
import { identify, isRunning, signalProcess } from "./process-table.ts";

let directory: string;
const started: LocalProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-process-"));
});
afterEach(async () => {
  for (const process of started.splice(0)) await stopProcess(process, systemClock, 0);
  rmSync(directory, { recursive: true });
});

const WAIT = "setInterval(() => {}, 1000)";

function plan(script: string, more: Partial<LocalProcessPlan> = {}): LocalProcessPlan {
  const mark = randomUUID();
  return {
    recordPath: join(directory, "members", "m0.json"),
    command: process.execPath,
    args: ["-e", script, mark],
    marks: [mark],
    environment: { PATH: process.env["PATH"] ?? "" },
    logPath: join(directory, "logs", "m0.1.log"),
    secret: null,
    ...more,
  };
}

async function start(made: LocalProcessPlan): Promise<LocalProcess> {
  const process = await startProcess(made);
  started.push(process);
  return process;
}

test("hands the secret over fd 3 only, appends to the log, tells how it ended", async () => {
  const script = `const secret = require("fs").readFileSync(3, "utf8");
    console.log("secret has", secret.trim().length, process.argv.includes(secret.trim()));
    process.exit(3);`;
  const made = plan(script, { secret: "0123456789" });
  const { ended } = await start(made);
  expect(await ended).toEqual({ status: 3, signal: null });
  expect(readFileSync(made.logPath, "utf8")).toBe("secret has 10 false\n");
  await (await start(made)).ended;
  expect(readFileSync(made.logPath, "utf8")).toBe("secret has 10 false\n".repeat(2));
});

// A control plane that is killed while it starts a member: it never comes back from startProcess.
test("the secret is there although whoever starts the process is killed at once", async () => {
  const out = join(directory, "out");
  const child = plan("", {
    command: "/bin/sh",
    args: ["-c", `sleep 0.2; cat <&3 >${out}.tmp; mv ${out}.tmp ${out}`],
    secret: "0123456789",
  });
  const module = JSON.stringify(new URL("local-process.ts", import.meta.url).href);
  const killed = `const { startProcess } = await import(${module});
    void startProcess(${JSON.stringify(child)});
    process.kill(process.pid, "SIGKILL");`;
  const { signal, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", killed], {
    encoding: "utf8",
    cwd: import.meta.dirname,
  });
  expect({ signal, stderr }).toEqual({ signal: "SIGKILL", stderr: "" });
  await expect.poll(() => existsSync(out), { timeout: 5_000 }).toBe(true);
  expect(readFileSync(out, "utf8")).toBe("0123456789\n");
  expect(readdirSync(join(directory, "members"))).toEqual([]); // no file of the secret is left
});

test("a process is found again by its record, and its end is noticed", async () => {
  const made = plan(WAIT);
  const { identity } = await start(made);
  const found = findProcess(made, systemClock);
  expect(found?.identity).toEqual(identity);
  signalProcess(identity, "SIGKILL");
  expect(await found?.ended).toEqual({ status: null, signal: null });
  expect(findProcess(made, systemClock)).toBeUndefined();
});

test.runIf(existsSync("/proc/self/stat"))(
  "a process whose record was never written is found by its arguments",
  async () => {
    const made = plan(WAIT);
    const { identity } = await start(made);
    rmSync(made.recordPath);
    expect(findProcess(made, systemClock)?.identity).toEqual(identity);
    expect(readRecord(made.recordPath)).toEqual(identity);
  },
);

test("a pid that belongs to somebody else by now is neither adopted nor killed", async () => {
  const bystander = await start(plan(WAIT, { recordPath: join(directory, "other.json") }));
  const stale = { pid: bystander.identity.pid, started: "before the reboot" };
  const made = plan(WAIT);
  writeFileSync(join(directory, "stale.json"), JSON.stringify(stale));
  expect(
    findProcess({ ...made, recordPath: join(directory, "stale.json") }, systemClock),
  ).toBeUndefined();
  expect(signalProcess(stale, "SIGKILL")).toBe(false);
  await stopProcess({ identity: stale, ended: bystander.ended }, systemClock, 0);
  expect(isRunning(bystander.identity)).toBe(true);
});

test.each(["", "{", '{"pid": "1"}', "null"])("a record cut short (%j) counts as none", (text) => {
  const path = join(directory, "record.json");
  writeFileSync(path, text);
  expect(readRecord(path)).toBeUndefined();
});

test("stop is SIGTERM for who listens and SIGKILL for who does not", async () => {
  const polite = await start(
    plan(`process.on("SIGTERM", () => process.exit(0)); ${WAIT}; console.log("up")`),
  );
  const deaf = await start(
    plan(`process.on("SIGTERM", () => {}); ${WAIT}; console.log("up")`, {
      recordPath: join(directory, "deaf.json"),
      logPath: join(directory, "deaf.log"),
    }),
  );
  await expect.poll(() => readFileSync(join(directory, "deaf.log"), "utf8")).toBe("up\n");
  await expect.poll(() => readFileSync(join(directory, "logs", "m0.1.log"), "utf8")).toBe("up\n");
  await stopProcess(polite, systemClock, 5_000);
  await stopProcess(deaf, systemClock, 200);
  expect(await polite.ended).toEqual({ status: 0, signal: null });
  expect(await deaf.ended).toEqual({ status: null, signal: "SIGKILL" });
  await stopProcess(deaf, systemClock, 200); // stopping what is gone is success
});

test("a command that does not exist is an error that names it", async () => {
  const made = plan(WAIT, { command: join(directory, "no-python") });
  await expect(startProcess(made)).rejects.toThrow(`cannot start ${join(directory, "no-python")}`);
});

test("this process knows itself, and nobody has pid 2^22", () => {
  expect(identify(process.pid)?.started).toBeTruthy();
  expect(identify(2 ** 22 + 1)).toBeUndefined();
});
