/** Every held rank-second is booked once: transitions close one interval and open the next at the same instant. */
import type { Ledger } from "./state.ts";

export const LEDGER_CATEGORIES = ["starting", "productive", "resharding", "idle"] as const;
export type LedgerCategory = (typeof LEDGER_CATEGORIES)[number];

export function openLedger(now: number): Ledger {
  return { totals: {}, category: "idle", ranks: 0, sinceMs: now };
}

/** Books the time since the last transition to the category it was spent in, and goes on in the given one. */
export function bookSeconds(
  ledger: Ledger,
  category: LedgerCategory,
  ranks: number,
  now: number,
): Ledger {
  if (ledger.category === category && ledger.ranks === ranks) return ledger;
  const spent = Math.max(0, now - ledger.sinceMs) * ledger.ranks;
  const before = ledger.totals[ledger.category] ?? 0;
  const totals =
    spent === 0 ? ledger.totals : { ...ledger.totals, [ledger.category]: before + spent };
  return { totals, category, ranks, sinceMs: Math.max(now, ledger.sinceMs) };
}
