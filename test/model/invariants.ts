/** What must hold after every decision of the core, whatever led to it. */

import type { JobEvent } from "../../packages/control-plane/src/core/events.ts";
import type { JobState, Live } from "../../packages/control-plane/src/core/state.ts";
import { findSeat, heldIn } from "./plans.ts";
import { gangOf } from "./ranks.ts";
import { ALL_LANES, type ModelWorld, must } from "./state.ts";

export function decisionHolds(before: JobState, world: ModelWorld, event: JobEvent): void {
  const was = liveOf(before);
  const is = liveOf(world.core);
  if (was === null || is === null) return;
  generationsGrow(was, is);
  committedIsReady(world, was, is);
  stateIsKept(world, was, is);
  commitsAreCommits(world, was, is);
  if (world.core.phase === "active") seatsAreKnown(is);
  if (world.core.phase === "finishing" && before.phase !== "finishing")
    finishesWhole(world, world.core.commit);
  must(
    "a job that may go on is not ended",
    world.core.phase !== "failed",
    `${world.core.reason.code}: ${world.core.reason.sentence} after ${event.kind}`,
  );
}

function generationsGrow(was: Live, is: Live): void {
  const isHigher =
    (is.committed?.number ?? 0) >= (was.committed?.number ?? 0) &&
    is.lastGeneration >= was.lastGeneration;
  must("generations only grow", isHigher, `${was.lastGeneration} → ${is.lastGeneration}`);
  if (is.prepared === null || is.prepared.number === was.prepared?.number) return;
  must(
    "generations only grow",
    is.prepared.number > was.lastGeneration && was.prepared === null,
    `${is.prepared.number} is prepared after ${was.lastGeneration}`,
  );
}

/** Every seat is taken by a rank that has the state of the plan, and no step that anybody applied is undone. */
function committedIsReady(world: ModelWorld, was: Live, is: Live): void {
  const { committed } = is;
  if (committed === null || committed.number === was.committed?.number) return;
  const gang = gangOf(world, committed.number);
  for (const { rank, member } of committed.seats)
    must(
      "committed only when every seat is ready",
      gang?.ready.includes(rank) === true,
      `generation ${committed.number}, rank ${rank} of ${member}`,
    );
  if (committed.source.kind !== "live" || was.committed === null) return;
  const applied = gangOf(world, was.committed.number)?.applied ?? 0;
  must(
    "no committed step is undone",
    committed.step >= applied,
    `generation ${committed.number} starts at ${committed.step}, ${applied} was applied`,
  );
}

/** While the living hold every block at one version, the state comes from them; never from an older source. */
function stateIsKept(world: ModelWorld, was: Live, is: Live): void {
  const { prepared, committed } = is;
  if (prepared === null || prepared.number === was.prepared?.number || committed === null) return;
  const holders = world.agents.flatMap(({ member, incarnation, rank }) => {
    const known = is.members.find(({ name }) => name === member);
    const isOurs =
      known?.incarnation === incarnation &&
      known.state !== "lost" &&
      known.ranks.some(({ pid }) => pid === rank.pid) &&
      rank.held?.number === committed.number;
    return isOurs && rank.held !== null ? [{ member, rank, plan: rank.held }] : [];
  });
  const target = Math.max(
    0,
    ...holders.map(({ rank }) => rank.version + (rank.pending === "agreed" ? 1 : 0)),
  );
  if (prepared.source.kind === "live") {
    must(
      "a block version is not lost while a holder lives",
      prepared.step >= target,
      `generation ${prepared.number} from ${prepared.step}, a living rank is at ${target}`,
    );
    return;
  }
  const held = new Set(
    holders
      .filter(({ rank }) => rank.version >= target - 1)
      .flatMap(({ member, plan }) => heldIn(plan, findSeat(plan, { member })?.rank ?? -1)),
  );
  must(
    "a block version is not lost while a holder lives",
    held.size < committed.blockMap.blocks,
    `generation ${prepared.number} from ${prepared.source.kind} at step ${prepared.step}, the living are at ${target}`,
  );
}

function commitsAreCommits(world: ModelWorld, was: Live, is: Live): void {
  const { lastCommit } = is;
  if (lastCommit === null || lastCommit.commit === was.lastCommit?.commit) return;
  const save = world.saves.find(({ saveId }) => saveId === lastCommit.commit);
  must(
    "a commit is what the checkpoint-manager committed",
    save?.status === "committed" && save.step === lastCommit.step,
    `${lastCommit.commit} as step ${lastCommit.step}`,
  );
}

function seatsAreKnown({ prepared, committed, members }: Live): void {
  const known = new Map(members.flatMap(({ ranks }) => ranks.map((rank) => [rank.pid, rank])));
  const running = committed?.mode === "running" ? committed.seats : [];
  for (const { pid, member } of [...running, ...(prepared?.seats ?? [])])
    must("every seat is a known rank's", known.has(pid), `pid ${pid} of ${member}`);
  for (const { pid, member } of prepared?.seats ?? [])
    must(
      "a rank that adopts is waited for",
      known.get(pid)?.state === "busy",
      `pid ${pid} of ${member} while generation ${prepared?.number} is prepared`,
    );
}

/** The end: the last step's checkpoint, and every lane of every step in the journal, once. */
function finishesWhole(world: ModelWorld, commit: string): void {
  const save = world.saves.find(({ saveId }) => saveId === commit);
  const live = liveOf(world.core);
  const steps = live?.facts?.totalSteps ?? 0;
  must(
    "complete only with the last step's commit",
    save?.status === "committed" && save.step === steps,
    commit,
  );
  const isWhole = world.rows.length === steps && world.rows.every((lanes) => lanes === ALL_LANES);
  must("each lane of each step is consumed once", isWhole, world.rows.join());
}

function liveOf(state: JobState): Live | null {
  return "live" in state ? state.live : null;
}
