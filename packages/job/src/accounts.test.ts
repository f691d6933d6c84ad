import { describe, expect, it } from "vitest";
import { goodputOf, ledgerAt, NO_LEDGER } from "./accounts.ts";

const ledger = {
  ...NO_LEDGER,
  byCategory: {
    ...NO_LEDGER.byCategory,
    productive: { ms: 6_000, openRanks: 0 },
    starting: { ms: 3_000, openRanks: 1 },
  },
  heldMs: 10_000,
  unsettledMs: 1_000,
  trainingRanks: 2,
  bookedMs: 50_000,
};

describe("a ledger that is read between two decisions", () => {
  it("goes on as it stands, and still adds up", () => {
    const later = ledgerAt(ledger, 52_000);
    expect(later.byCategory.starting).toEqual({ ms: 5_000, openRanks: 1 });
    expect([later.unsettledMs, later.heldMs, later.bookedMs]).toEqual([5_000, 16_000, 52_000]);
    expect(ledgerAt(later, 51_000)).toEqual(later);
  });

  it("stands still when nothing is held", () => {
    expect(ledgerAt(NO_LEDGER, 52_000)).toBe(NO_LEDGER);
  });

  it("counts unsettled training as productive in its goodput", () => {
    expect(goodputOf(ledger)).toBe(0.7);
    expect(goodputOf(NO_LEDGER)).toBeNull();
  });
});
