import { describe, expect, it } from "vitest";
import { bookSeconds, openLedger } from "./ledger.ts";

describe("the ledger", () => {
  it("books each interval once, to the category it was spent in", () => {
    let ledger = bookSeconds(openLedger(1_000), "starting", 4, 1_000);
    ledger = bookSeconds(ledger, "productive", 4, 3_000);
    ledger = bookSeconds(ledger, "productive", 4, 4_000); // nothing changed: nothing is booked yet
    ledger = bookSeconds(ledger, "resharding", 3, 6_000);
    ledger = bookSeconds(ledger, "idle", 0, 7_000);
    expect(ledger.totals).toEqual({ starting: 8_000, productive: 12_000, resharding: 3_000 });
  });

  it("holds nothing before it begins and after the release", () => {
    const closed = bookSeconds(bookSeconds(openLedger(0), "starting", 2, 500), "idle", 0, 1_500);
    expect(bookSeconds(closed, "starting", 1, 9_000).totals).toEqual({ starting: 2_000 });
  });

  it("never books negative time when a clock steps back", () => {
    const ledger = bookSeconds(openLedger(5_000), "starting", 2, 5_000);
    const back = bookSeconds(ledger, "productive", 2, 4_000);
    expect(back.totals).toEqual({});
    expect(back.sinceMs).toBe(5_000);
  });
});
