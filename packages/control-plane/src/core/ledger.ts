/**
 * Every held rank-millisecond is booked once. The ledger is a pure function of the decisions of a job: each decision
 * closes the open interval of every held member and opens the next at the same instant, and moves the time of training
 * from unsettled to what it turned out to be. Reports of members and the clock of the control plane are all it reads.
 */

import {
  type Account,
  addSums,
  bookPartial,
  bookUnsettled,
  close,
  finishPartial,
  mark,
  NOTHING_HELD,
  type OpenCategory,
  type RanksByCategory,
  type Sums,
  settle,
  turnPage,
} from "./ledger-account.ts";
import { type JobState, type Live, liveOf, type MemberState, type RankSlot } from "./state.ts";

/** The held time of one job. */
export interface Ledger {
  /** Members that are held, by slot. */
  readonly open: readonly Account[];
  /** Members that were released. */
  readonly closed: Sums;
  /** Steps whose time is settled or unsettled; the time of later ones is partial. */
  readonly throughStep: number;
  /** Everything up to here is booked (Unix ms). */
  readonly bookedMs: number;
}

export interface Booking {
  readonly before: JobState;
  readonly after: JobState;
  readonly now: number;
  /** The members are stopped with the control plane: nothing is held until it is back. */
  readonly isParked: boolean;
}

/** Causes that are only found after a wait: the time since the last progress was spent on finding them. */
const DETECTED_CAUSES: ReadonlySet<string> = new Set(["hang", "node"]);

export function openLedger(now: number): Ledger {
  return { open: [], closed: NOTHING_HELD, throughStep: 0, bookedMs: now };
}

/** Everything that was ever held, released or not. */
export function totalOf({ open, closed }: Ledger): Sums {
  return open.reduce(addSums, closed);
}

/** Whether the members of a job still have their devices. */
export function holdsMembers(state: JobState): boolean {
  if (state.phase === "queued") return false;
  return state.phase === "active" || state.effects.some(({ kind }) => kind === "release");
}

/** The ledger after a decision. */
export function bookDecision({ before, after, now, isParked }: Booking): Ledger {
  const was = liveOf(before);
  const is = liveOf(after);
  if (is === null) return before.ledger;
  // 1. The open intervals end here.
  let ledger = endIntervals(before.ledger, now);
  // 2. What training turned out to be.
  if (was !== null) {
    ledger = bookProgress(ledger, was, is);
    ledger = bookVerdict(ledger, was, is);
    ledger = bookSaves(ledger, was, is);
    ledger = bookGeneration(ledger, was, is);
  }
  if (after.phase !== before.phase) ledger = bookEnd(ledger, after);
  // 3. The next intervals begin here.
  return isParked ? park(ledger) : beginIntervals(ledger, after, is);
}

/** The same change to every pocket, of held members and of those that were released. */
function each(ledger: Ledger, book: <S extends Sums>(sums: S) => S): Ledger {
  return { ...ledger, open: ledger.open.map((one) => book(one)), closed: book(ledger.closed) };
}

function endIntervals(ledger: Ledger, now: number): Ledger {
  const bookedMs = Math.max(now, ledger.bookedMs);
  const open = ledger.open.map((account) => turnPage(account, bookedMs));
  return { ...ledger, open, bookedMs };
}

function bookProgress(ledger: Ledger, was: Live, is: Live): Ledger {
  if (is.step <= was.step || is.step <= ledger.throughStep) return ledger;
  const finished = { ...each(ledger, finishPartial), throughStep: is.step };
  // A save that blocked the ranks did so inside of what was booked as training.
  const blockedMs = stalledMs(is) - stalledMs(was);
  if (blockedMs <= 0) return finished;
  const open = finished.open.map((account) =>
    bookUnsettled(account, "checkpoint_stall", blockedMs * (account.ranks.training ?? 0)),
  );
  return { ...finished, open };
}

function stalledMs({ progress }: Live): number {
  return Math.round(1000 * (progress?.measured.stallSeconds ?? 0));
}

/** A generation is over. What it was at since its last step is lost, or was spent on finding out. */
function bookVerdict(ledger: Ledger, was: Live, is: Live): Ledger {
  if (is.fault === null || is.fault.cause === was.fault?.cause) return ledger;
  if (!DETECTED_CAUSES.has(is.fault.cause)) return ledger;
  return each(ledger, (sums) => bookPartial(sums, "hung"));
}

function bookSaves(ledger: Ledger, was: Live, is: Live): Ledger {
  let next = ledger;
  const commit = is.lastCommit;
  if (commit !== null && commit.commit !== was.lastCommit?.commit) {
    // Steps that are computed again are in the journal already: only the checkpoint says that they are done.
    if (commit.step > next.throughStep)
      next = { ...each(next, finishPartial), throughStep: commit.step };
    next = each(next, (sums) => settle(sums, commit.step));
  }
  const before = savesOf(was);
  for (const step of savesOf(is)) {
    if (!before.includes(step)) next = each(next, (sums) => mark(sums, step));
  }
  return next;
}

function savesOf({ save, nextSave }: Live): number[] {
  return [save, nextSave].flatMap((one) => (one === null ? [] : [one.step]));
}

/** Where the next generation starts says what of the last one was kept. */
function bookGeneration(ledger: Ledger, was: Live, is: Live): Ledger {
  const { committed } = is;
  if (committed === null || committed.number === was.committed?.number) return ledger;
  const { step } = committed;
  const { throughStep } = ledger;
  const next = { ...ledger, throughStep: step };
  if (step > throughStep) return each(next, finishPartial);
  const lost = each(next, (sums) => bookPartial(sums, "redone"));
  if (step === throughStep) return lost;
  // Steps between the last checkpoint and the last step share their time evenly: it is not kept by step.
  const settled = is.lastCommit?.step ?? 0;
  const keptRatio = Math.max(0, step - settled) / Math.max(1, throughStep - settled);
  return each(lost, (sums) => {
    const kept = Math.floor(sums.unsettled * keptRatio);
    return bookUnsettled(sums, "redone", sums.unsettled - kept);
  });
}

/** Nothing is open about a job that is over: its work is done, or was for nothing. */
function bookEnd(ledger: Ledger, { phase }: JobState): Ledger {
  if (phase === "queued" || phase === "active") return ledger;
  const category = phase === "finishing" || phase === "complete" ? "productive" : "redone";
  return each(ledger, (sums) => close(sums, category));
}

function park(ledger: Ledger): Ledger {
  return { ...ledger, open: ledger.open.map((account) => ({ ...account, ranks: {} })) };
}

/** Members that came are opened, those that went are closed, the others go on in their new category. */
function beginIntervals(ledger: Ledger, after: JobState, live: Live): Ledger {
  const held = holdsMembers(after) ? live.members : [];
  const gone = ledger.open.filter(({ member }) => !held.some(({ name }) => name === member));
  return {
    ...ledger,
    closed: gone.reduce(addSums, ledger.closed),
    open: held.map((member): Account => {
      const count = live.plan.ranksPerMember;
      const ranks = after.phase === "active" ? ranksOf(live, member) : { idle: count };
      const known = ledger.open.find((account) => account.member === member.name);
      if (known !== undefined) return { ...known, ranks };
      return { ...NOTHING_HELD, member: member.name, ranks, sinceMs: ledger.bookedMs };
    }),
  };
}

/** What each rank of a member of an active job does from now on. */
function ranksOf(live: Live, member: MemberState): RanksByCategory {
  const ranks: Partial<Record<OpenCategory, number>> = {};
  for (let localRank = 0; localRank < live.plan.ranksPerMember; localRank++) {
    const slot = member.ranks.find((one) => one.localRank === localRank);
    const category = slot === undefined ? "starting" : categoryOf(live, member, slot);
    ranks[category] = (ranks[category] ?? 0) + 1;
  }
  return ranks;
}

function categoryOf(live: Live, member: MemberState, slot: RankSlot): OpenCategory {
  const { committed, prepared } = live;
  if (slot.state === "loading" || member.state === "lost") return "starting";
  const isSeated = committed?.seats.some(
    ({ pid, incarnation }) => pid === slot.pid && incarnation === member.incarnation,
  );
  if (committed === null || isSeated !== true) return waitingCategory(live);
  if (prepared !== null)
    return prepared.source.kind === "checkpoint" ? "checkpoint_stall" : "resharding";
  switch (committed.mode) {
    case "running":
      // It has done the last step, and is kept until the last checkpoint is committed.
      return committed.finished.includes(member.name) ? "checkpoint_stall" : "training";
    case "pausing":
      // A rank computes until the boundary at which it was asked to stop.
      return slot.state === "busy" ? "training" : "resharding";
    case "broken":
      return "resharding";
    default:
      return committed.mode satisfies never;
  }
}

/** A loaded rank without a seat: the gang is not there yet, or is about to take it in. */
function waitingCategory({ committed, members }: Live): "queued_held" | "starting" {
  const isIncomplete = committed === null && members.some(({ state }) => state === "launching");
  return isIncomplete ? "queued_held" : "starting";
}
