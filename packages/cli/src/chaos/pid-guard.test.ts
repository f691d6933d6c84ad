import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { factsOf, isUpOf, type ProcessFacts, strangeness } from "./pid-guard.ts";
import { strike } from "./strike.ts";
import type { JobProcess } from "./victim.ts";

const UID = "01J9ZK3V6M8N7P4Q2R5S6T7V8W";
const AGENT: JobProcess = { role: "agent", pid: 40, jobUid: UID, member: "tone-m0" };
const RANK: JobProcess = { role: "rank", pid: 41, agentPid: 40 };

function agentWords(changes: { uid?: string; member?: string } = {}): readonly string[] {
  const { uid = UID, member = "tone-m0" } = changes;
  const module = ["python", "-m", "shardwright_trainer.agent.main", "--control-plane", "a:1"];
  return [...module, "--job-uid", uid, "--member", member, "--incarnation", "1"];
}

const RANK_WORDS = ["python", "-m", "shardwright_trainer.rank.main", "--socket", "s"];

describe("strangeness", () => {
  const of = (words: readonly string[], parentPid = 1): ProcessFacts => ({ words, parentPid });

  it("lets an agent of the job and a rank of that agent through", () => {
    expect(strangeness(AGENT, of(agentWords()))).toBeNull();
    expect(strangeness(RANK, of(RANK_WORDS, 40))).toBeNull();
  });

  it.each<[string, JobProcess, ProcessFacts | undefined, string]>([
    ["nobody", AGENT, undefined, "not running"],
    ["an editor", AGENT, of(["vim", "shardwright_trainer.agent.main"]), "no agent"],
    ["a rank for an agent", AGENT, of(RANK_WORDS, 40), "no agent"],
    ["another job", AGENT, of(agentWords({ uid: "01J9ZK3V6M8N7P4Q2R5S6T7V8X" })), "another job"],
    ["the uid elsewhere", AGENT, of([...agentWords({ uid: "" }), UID]), "another job"],
    ["another member", AGENT, of(agentWords({ member: "tone-m1" })), "another member"],
    ["an agent for a rank", RANK, of(agentWords(), 40), "no rank"],
    ["an orphaned rank", RANK, of(RANK_WORDS, 1), "another member"],
    ["init", RANK, of(["/sbin/init"], 0), "no rank"],
  ])("stops at %s", (_, wanted, facts, why) => {
    expect(strangeness(wanted, facts)).toContain(why);
  });
});

describe("real processes", () => {
  const started: ReturnType<typeof spawn>[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
  });
  /** A process that sleeps under these arguments. */
  async function process(...words: readonly string[]): Promise<ReturnType<typeof spawn>> {
    const code = ["-e", "setTimeout(() => undefined, 60_000)", "--"];
    const child = spawn(globalThis.process.execPath, [...code, ...words], { stdio: "ignore" });
    started.push(child);
    await once(child, "spawn");
    return child;
  }

  it("sends nothing to a process that is not the job's", async () => {
    const child = await process("-m", "something_else");
    const victim = { label: "rank 0", processes: [{ ...RANK, pid: child.pid ?? 0 }] };
    expect(strike(victim, "SIGKILL")).toMatchObject({ struck: false });
    expect(factsOf(child.pid ?? 0)?.parentPid).toBe(globalThis.process.pid);
    expect(child.signalCode).toBeNull();
  });

  it("kills what is the job's, and leaves what is not among it alone", async () => {
    const rank = await process(...RANK_WORDS.slice(1));
    const stranger = await process("-m", "something_else");
    const ended = once(rank, "exit");
    const agentPid = globalThis.process.pid;
    const processes = [rank, stranger].map(({ pid = 0 }) => ({
      role: "rank" as const,
      pid,
      agentPid,
    }));
    expect(strike({ label: "rank 0", processes }, "SIGKILL")).toEqual({
      struck: true,
      pids: [rank.pid],
    });
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(stranger.signalCode).toBeNull();
    expect(strike({ label: "rank 0", processes }, "SIGKILL")).toMatchObject({ struck: false });
  });

  it("takes nobody for the control plane who does not hold its directory", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "shardctl-guard-"));
    const child = await process("/somewhere/bin/shardctl", "up");
    expect(isUpOf(child.pid ?? 0, dataDir)).toBe(globalThis.process.platform !== "linux");
    expect(isUpOf(globalThis.process.pid, dataDir)).toBe(false);
  });
});
