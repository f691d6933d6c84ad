import { setTimeout as sleep } from "node:timers/promises";
import { isFinal, type JobView } from "@shardwright/job/phase";
import type { Member } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { embeddedServer } from "../chaos/embedded.ts";
import { type Goal, standOf, untilRecovered } from "../chaos/recovery.ts";
import { checkUp, killUp, startUp } from "../chaos/restart.ts";
import { seededChance } from "../chaos/seeded.ts";
import { FACTOR_MAX, slowDown } from "../chaos/slowness.ts";
import { type Strike, strike } from "../chaos/strike.ts";
import { memberVictim, rankVictim, type Victim } from "../chaos/victim.ts";
import type { ServerFile } from "../context.ts";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { seconds } from "../render/duration.ts";
import { visible } from "../render/escape.ts";
import { type Jobs, withJobs } from "../rpc/jobs.ts";

const FAULTS = ["kill-rank", "stop-rank", "slow", "kill-member", "restart-control-plane"] as const;
type Fault = (typeof FAULTS)[number];

const STOP_MS_DEFAULT = 2_000;
// Long enough for some steps of a small model, so that the job can notice who is slow.
const SLOW_MS_DEFAULT = 30_000;
const SLOW_FACTOR_DEFAULT = 3;
// A member that is replaced loads the model again: minutes for a large one on a slow disk.
const TIMEOUT_MS_DEFAULT = 300_000;
// Steps until here are asked for when a seed is made up; small numbers are easy to type again.
const SEEDS = 10_000;

/** A fault that was made: what to say of it, when it was, and what the job has to do to be over it. */
interface Deed {
  readonly deed: string;
  readonly atMs: number;
  readonly goal: Goal;
}

/** Makes one fault on an embedded job, then follows until the job has taken its next step. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io, flags } = call;
  // 1. Whose job it is, and that it can be hit at all.
  const name = jobName(call.args[0], "shardctl chaos JOB kill-rank");
  const fault = faultOf(call.args[1]);
  const server = embeddedServer(call, "chaos");
  const { job, members } = await withJobs(call, async (jobs) => ({
    job: await jobs.get(name),
    members: await jobs.members(name),
  }));
  if (isFinal(job.status.state)) {
    throw new Refusal(EXIT.error, `job ${name} is ${job.status.state}; nobody trains any more`);
  }
  // 2. What will happen, and whether it may.
  const aim = aimOf(fault, { call, job, members, server });
  await confirm(call, aim.intention, `${name} ${fault}`);
  // 3. Do it, and watch how the job goes on.
  const before = standOf(job);
  const done = await aim.act(() => withJobs(call, (jobs) => jobs.get(name)));
  const { line, exit } = await withJobs(call, (jobs: Jobs) =>
    untilRecovered(jobs, {
      name,
      deed: done.deed,
      before,
      goal: done.goal,
      sinceMs: done.atMs,
      timeoutMs: flags.duration("timeout") ?? TIMEOUT_MS_DEFAULT,
      now: io.now,
      say: (said) => io.err(`${visible(said)}\n`),
    }),
  );
  io.out(`${line}\n`);
  if (exit === EXIT.timeout) io.err(`  next: ${io.program} explain ${name}\n`);
  return exit;
}

function faultOf(word: string | undefined): Fault {
  const fault = FAULTS.find((known) => known === word);
  if (fault !== undefined) return fault;
  throw new Refusal(EXIT.usage, `unknown fault "${word ?? ""}"`, {
    why: `expected one of ${FAULTS.join(", ")}`,
  });
}

interface Scene {
  readonly call: Invocation;
  readonly job: JobView;
  readonly members: readonly Member[];
  readonly server: ServerFile;
}

interface Aim {
  /** What will be done, as a sentence. */
  readonly intention: string;
  /** `look` reads the job anew. */
  act(look: () => Promise<JobView>): Promise<Deed>;
}

function aimOf(fault: Fault, scene: Scene): Aim {
  switch (fault) {
    case "kill-rank":
      return killing(rankOf(scene), scene);
    case "kill-member":
      return killing(memberOf(scene), scene);
    case "stop-rank":
      return stopping(rankOf(scene), scene);
    case "slow":
      return slowing(rankOf(scene), scene);
    case "restart-control-plane":
      return restarting(scene);
    default:
      return fault satisfies never;
  }
}

function killing(victim: Victim, { call }: Scene): Aim {
  return {
    intention: `kill -9 of ${victim.label} (${pidsOf(victim)})`,
    act: async () => {
      const pids = struck(strike(victim, "SIGKILL"));
      const deed = `${victim.label} killed (${spelled(pids)})`;
      return { deed, atMs: call.io.now(), goal: { kind: "next generation" } };
    },
  };
}

/** Stopped, not killed: its peers wait for it. Goes on even when we are interrupted. */
function stopping(victim: Victim, { call }: Scene): Aim {
  const { io, flags } = call;
  const forMs = flags.duration("for") ?? STOP_MS_DEFAULT;
  return {
    intention: `stop ${victim.label} (${pidsOf(victim)}) for ${seconds(forMs / 1000)}`,
    act: async (look) => {
      const atMs = io.now();
      const pids = struck(strike(victim, "SIGSTOP"));
      const goOn = (): void => void strike(victim, "SIGCONT");
      process.once("exit", goOn);
      try {
        await sleep(forMs);
      } finally {
        process.removeListener("exit", goOn);
        goOn();
      }
      const beyond = standOf(await look()).step;
      const deed = `${victim.label} stopped for ${seconds(forMs / 1000)} (${spelled(pids)})`;
      return { deed, atMs, goal: { kind: "next step", beyond } };
    },
  };
}

/** Slower, never silent: its peers wait for it in every step until the job gives it less to do. */
function slowing(victim: Victim, { call }: Scene): Aim {
  const { io, flags } = call;
  const forMs = flags.duration("for") ?? SLOW_MS_DEFAULT;
  const factor = factorOf(call);
  const how = `${factor} times slower for ${seconds(forMs / 1000)}`;
  return {
    intention: `make ${victim.label} (${pidsOf(victim)}) ${how}`,
    act: async (look) => {
      const atMs = io.now();
      const pids = struck(await slowDown(victim, { factor, forMs, now: io.now }));
      const beyond = standOf(await look()).step;
      const deed = `${victim.label} ${how} (${spelled(pids)})`;
      return { deed, atMs, goal: { kind: "next step", beyond } };
    },
  };
}

function factorOf({ flags }: Invocation): number {
  const text = flags.text("factor");
  if (text === undefined) return SLOW_FACTOR_DEFAULT;
  const factor = Number(text);
  if (factor > 1 && factor <= FACTOR_MAX) return factor;
  throw new Refusal(
    EXIT.usage,
    `--factor ${text}: expected a number above 1, at most ${FACTOR_MAX}`,
  );
}

function restarting({ call, server, job }: Scene): Aim {
  const { io, settings } = call;
  checkUp(server, settings.dataDir);
  return {
    intention: `kill -9 of the control plane (process ${server.pid}), then start it again in the background`,
    act: async (look) => {
      const atMs = io.now();
      await killUp(server, settings.dataDir);
      io.err("the control plane is gone; the members train on\n");
      const again = await startUp(settings.dataDir);
      // What its journal holds of the job; everything above it was reported to the new process.
      const beyond = Math.max(standOf(job).step, standOf(await look()).step);
      const deed = `control plane killed (pid ${server.pid}) and started again (pid ${again.pid})`;
      return { deed, atMs, goal: { kind: "next step", beyond } };
    },
  };
}

/** By --rank, else by the seed. */
function rankOf({ call, members }: Scene): Victim {
  const rank = call.flags.count("rank");
  const victim = rankVictim(members, rank === undefined ? { choice: chanceOf(call) } : { rank });
  return victim ?? nobody(rank === undefined ? "no rank trains now" : `no rank ${rank} trains now`);
}

/** By --member (its name or its slot), else by the seed. */
function memberOf({ call, members, job }: Scene): Victim {
  const member = call.flags.text("member");
  const which = member === undefined ? { choice: chanceOf(call) } : { member };
  const victim = memberVictim(members, job.uid, which);
  return victim ?? nobody(member === undefined ? "no member trains now" : `no member "${member}"`);
}

function nobody(what: string): never {
  throw new Refusal(EXIT.error, what, { next: "shardctl get members JOB" });
}

/** The first number of the seed; a seed that was not named is made up and said, so that it can be named. */
function chanceOf({ flags, io }: Invocation): number {
  const named = flags.count("seed");
  const seed = named ?? io.now() % SEEDS;
  if (named === undefined) io.err(`seed ${seed}\n`);
  return seededChance(seed)();
}

async function confirm(call: Invocation, intention: string, words: string): Promise<void> {
  const { io, settings } = call;
  if (settings.yes) {
    io.err(`${intention}\n`);
    return;
  }
  if (!settings.input) {
    throw new Refusal(EXIT.usage, `${intention}: this wants a confirmation`, {
      why: "there is nobody to ask",
      next: `${io.program} chaos ${words} … --yes`,
    });
  }
  const answer = await io.ask(`${intention}; do it? [y/N] `);
  if (!/^y(es)?$/i.test(answer?.trim() ?? "")) throw new Refusal(EXIT.error, "nothing was done");
}

function struck(done: Strike): readonly number[] {
  if (done.struck) return done.pids;
  throw new Refusal(EXIT.error, `nothing was done: ${done.why}`, {
    why: "the job changed meanwhile",
    next: "try again",
  });
}

function pidsOf({ processes }: Victim): string {
  return spelled(processes.map(({ pid }) => pid));
}

function spelled(pids: readonly number[]): string {
  return `pid${pids.length === 1 ? "" : "s"} ${pids.join(", ")}`;
}
