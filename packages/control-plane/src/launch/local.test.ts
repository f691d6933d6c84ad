import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@shardwright/service/clock";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Launcher, MemberLaunch, RunningMember } from "../ports.ts";
import { createLocalLauncher } from "./local.ts";

const TOKEN = "member-token-of-enough-length";
/** A stand-in with the agent's command line: says what it was given, then waits, or fails when told to. */
const AGENT = `import { readFileSync } from "node:fs";
const token = readFileSync(3, "utf8").trim();
console.log(JSON.stringify({ argv: process.argv.slice(2), token: token.length, environment: process.env }));
if (process.env.FAIL) { console.error("boom: no data"); process.exit(7); }
setInterval(() => {}, 1000);`;

let directory: string;
let launchers: Launcher[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-launch-"));
  writeFileSync(join(directory, "agent.mjs"), AGENT);
  launchers = [];
});
afterEach(async () => {
  for (const launcher of launchers) {
    for (const { uid } of await launcher.running()) await launcher.release(uid);
    await launcher.close();
  }
  rmSync(directory, { recursive: true });
});

function launcher(environment: Record<string, string> = {}): Launcher {
  const made = createLocalLauncher({
    dataDirectory: directory,
    agentCommand: [process.execPath, join(directory, "agent.mjs")],
    storeCommand: [process.execPath, "-e", "process.exit(9)", "--"],
    environment: { PATH: process.env["PATH"] ?? "", ...environment },
    controlPlaneAddress: () => "127.0.0.1:7070",
    machine: { name: "here", slots: 2, memoryBytes: 2_000 },
    clock: systemClock,
  });
  launchers.push(made);
  return made;
}

const aLaunch = (more: Partial<MemberLaunch> = {}): MemberLaunch => ({
  uid: "01J00000000000000000000000",
  jobName: "a",
  member: "a-m0",
  slot: 0,
  incarnation: 1,
  node: "here",
  token: TOKEN,
  ...more,
});
const UID = aLaunch().uid;
const logOf = (member: string, incarnation: number) =>
  readFileSync(join(directory, "runs", UID, "logs", `${member}.${incarnation}.log`), "utf8");

function ends(of: Launcher): [RunningMember, string][] {
  const list: [RunningMember, string][] = [];
  of.onEnd((member, sentence) => list.push([member, sentence]));
  return list;
}

test("a member gets its arguments, its token on fd 3 only, and the environment we chose", async () => {
  const local = launcher();
  const pid = await local.launchMember(aLaunch());
  expect(await local.running()).toEqual([{ uid: UID, member: "a-m0", incarnation: 1, pid }]);
  await expect.poll(() => logOf("a-m0", 1)).toContain("argv");
  const text = logOf("a-m0", 1);
  const said = JSON.parse(text) as { argv: string[]; token: number; environment: object };
  expect(said.argv).toEqual([
    ...["--control-plane", "127.0.0.1:7070", "--job-uid", UID, "--member", "a-m0"],
    ...["--incarnation", "1", "--token-fd", "3", "--work-directory", local.workDirectory(UID)],
    ...["--slot", "0"],
  ]);
  expect(said.token).toBe(TOKEN.length);
  expect(text).not.toContain(TOKEN);
  expect(Object.keys(said.environment)).toEqual(["PATH"]);
});

test("launching again, also at the same time, starts no second process", async () => {
  const local = launcher();
  const pids = await Promise.all([1, 2, 3].map(() => local.launchMember(aLaunch())));
  expect(new Set([...pids, await local.launchMember(aLaunch())]).size).toBe(1);
  expect(await local.launchMember(aLaunch({ incarnation: 2 }))).not.toBe(pids[0]);
});

test("a member that fails is reported once, with its status and last line", async () => {
  const local = launcher({ FAIL: "1" });
  const ended = ends(local);
  const pid = await local.launchMember(aLaunch());
  await expect.poll(() => ended).toHaveLength(1);
  expect(ended[0]).toEqual([
    { uid: UID, member: "a-m0", incarnation: 1, pid },
    "ended with status 7: boom: no data",
  ]);
  expect(await local.running()).toEqual([]);
});

test("a restarted control plane finds its members, hears of their end and stops exactly the one it names", async () => {
  const first = launcher();
  const [a, b] = await Promise.all([
    first.launchMember(aLaunch()),
    first.launchMember(aLaunch({ member: "a-m1", slot: 1 })),
  ]);
  await first.close();
  // Killed after starting the second member, before it could record it.
  rmSync(join(directory, "runs", UID, "members", "a-m1.1.json"));

  const second = launcher();
  const ended = ends(second);
  expect(await second.running()).toEqual([{ uid: UID, member: "a-m0", incarnation: 1, pid: a }]);
  expect(await second.launchMember(aLaunch({ member: "a-m1", slot: 1 }))).toBe(b);
  await second.stopMember(UID, "a-m0", 2); // never started: success, and nobody is hurt
  await second.stopMember(UID, "a-m0", 1);
  await expect
    .poll(() => ended.map(([{ member }]) => member), { timeout: 5_000 })
    .toEqual(["a-m0"]);
  expect((await second.running()).map(({ member }) => member)).toEqual(["a-m1"]);
});

test("release stops every member of the job and of no other", async () => {
  const local = launcher();
  await local.launchMember(aLaunch());
  await local.launchMember(aLaunch({ member: "a-m1" }));
  await local.launchMember(aLaunch({ uid: "01J00000000000000000000001", member: "b-m0" }));
  await local.release(UID);
  await local.release(UID);
  await expect
    .poll(async () => (await local.running()).map(({ member }) => member))
    .toEqual(["b-m0"]);
});

test("the snapshot is this machine; a store that cannot start is an error, and is tried anew", async () => {
  const local = launcher();
  expect(local.snapshot()).toMatchObject({
    nodes: [{ name: "here", device: "cpu", slots: 2, bytesPerSlot: 1_000 }],
    holdings: [],
  });
  await expect(local.ensureStore()).rejects.toThrow("ended before it was ready");
  await expect(local.ensureStore()).rejects.toThrow("ended before it was ready");
});
