/** The arithmetic of the ledger: rank-milliseconds move between pockets, none is made and none is lost. */

import { LEDGER_CATEGORIES, type LedgerCategory } from "@shardwright/job/accounts";

/**
 * Held time, in rank-milliseconds. `held` is exactly the sum of `totals`, `unsettled` and `partial`: time of training
 * is one of the latter two until it is known what became of it.
 */
export interface Sums {
  readonly held: number;
  readonly totals: Readonly<Partial<Record<LedgerCategory, number>>>;
  /** Steps that the journal holds and no checkpoint covers. */
  readonly unsettled: number;
  /** Since the last of them. */
  readonly partial: number;
  /** What `unsettled` was when the blocks of a save were copied, by the step of the save. */
  readonly marks: readonly { readonly step: number; readonly ms: number }[];
}

/** What a rank does in an open interval; `training` is booked to `partial`. */
export type OpenCategory = LedgerCategory | "training";
export type RanksByCategory = Readonly<Partial<Record<OpenCategory, number>>>;

/** One held member. */
export interface Account extends Sums {
  readonly member: string;
  /** Ranks by what they do in the interval that is open; none while the member is stopped with us. */
  readonly ranks: RanksByCategory;
  readonly sinceMs: number;
}

/** Of a save that was given up a commit may still be heard of, late; not of one with this many after it. */
const MARKS_KEPT_MAX = 4;

export const NOTHING_HELD: Sums = { held: 0, totals: {}, unsettled: 0, partial: 0, marks: [] };

/** Closes the open interval and opens the next at the same instant. */
export function turnPage(account: Account, now: number): Account {
  const until = Math.max(now, account.sinceMs);
  const next = { sinceMs: until };
  const spent = until - account.sinceMs;
  let { held, partial, totals } = account;
  for (const [category, ranks] of entriesOf(account.ranks)) {
    const ms = spent * ranks;
    held += ms;
    if (category === "training") partial += ms;
    else totals = withMore(totals, category, ms);
  }
  return { ...account, ...next, held, partial, totals };
}

/** The categories that have ranks, and how many. */
export function entriesOf(ranks: RanksByCategory): readonly (readonly [OpenCategory, number])[] {
  return Object.entries(ranks) as [OpenCategory, number][];
}

/** The step that was under way is in the journal, or can be finished from what the living hold. */
export function finishPartial<S extends Sums>(sums: S): S {
  if (sums.partial === 0) return sums;
  return { ...sums, unsettled: sums.unsettled + sums.partial, partial: 0 };
}

/** What was done since the last step in the journal goes to a category. */
export function bookPartial<S extends Sums>(sums: S, category: LedgerCategory): S {
  if (sums.partial === 0) return sums;
  return { ...sums, partial: 0, totals: withMore(sums.totals, category, sums.partial) };
}

/** Some of the unsettled time, at most all of it, goes to a category. */
export function bookUnsettled<S extends Sums>(sums: S, category: LedgerCategory, ms: number): S {
  const moved = Math.min(ms, sums.unsettled);
  if (moved <= 0) return sums;
  const marks = sums.marks.map((mark) => ({ ...mark, ms: Math.max(0, mark.ms - moved) }));
  const totals = withMore(sums.totals, category, moved);
  return { ...sums, unsettled: sums.unsettled - moved, totals, marks };
}

/** Remembers what is unsettled now: a save of this step, once committed, settles it. */
export function mark<S extends Sums>(sums: S, step: number): S {
  const others = sums.marks.filter((one) => one.step !== step);
  const marks = [...others, { step, ms: sums.unsettled + sums.partial }];
  return { ...sums, marks: marks.slice(-MARKS_KEPT_MAX) };
}

/** A checkpoint of this step exists: what was done up to it is productive. */
export function settle<S extends Sums>(sums: S, step: number): S {
  const found = sums.marks.find((one) => one.step === step);
  const settled = bookUnsettled(sums, "productive", found?.ms ?? 0);
  return { ...settled, marks: settled.marks.filter((one) => one.step > step) };
}

/** Nothing is unsettled any more. */
export function close<S extends Sums>(sums: S, category: LedgerCategory): S {
  const { unsettled, partial, totals } = sums;
  const open = unsettled + partial;
  const booked = open === 0 ? totals : withMore(totals, category, open);
  return { ...sums, unsettled: 0, partial: 0, totals: booked, marks: [] };
}

/** The sums of both. A mark that one of them lacks is of before it was held: nothing. */
export function addSums(a: Sums, b: Sums): Sums {
  const steps = [...new Set([...a.marks, ...b.marks].map(({ step }) => step))].sort(
    (one, other) => one - other,
  );
  const of = (sums: Sums, step: number): number =>
    sums.marks.find((one) => one.step === step)?.ms ?? 0;
  const totals = { ...a.totals };
  for (const category of LEDGER_CATEGORIES) {
    const more = b.totals[category] ?? 0;
    if (more > 0) totals[category] = (totals[category] ?? 0) + more;
  }
  return {
    held: a.held + b.held,
    totals,
    unsettled: a.unsettled + b.unsettled,
    partial: a.partial + b.partial,
    marks: steps.map((step) => ({ step, ms: of(a, step) + of(b, step) })),
  };
}

function withMore(totals: Sums["totals"], category: LedgerCategory, ms: number): Sums["totals"] {
  if (ms === 0) return totals;
  return { ...totals, [category]: (totals[category] ?? 0) + ms };
}
