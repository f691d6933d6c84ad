import { describe, expect, it } from "vitest";
import { budgetOf, judgeFailure, NOTHING_SPENT, RESTART } from "./failure.ts";

const budget = { error: 1, oom: 1, communication: 1, hang: 1, node: 2, storage: 0 };

describe("budgetOf", () => {
  it.each([
    ["user_error", null],
    ["oom", "oom"],
    ["communication", "communication"],
    ["hang", "hang"],
    ["storage", "storage"],
    ["killed", "node"],
    ["node", "node"],
    ["preempted", "node"],
    ["unknown", "error"],
    ["a cause of tomorrow", "error"],
  ])("pays %s from %s", (cause, from) => {
    expect(budgetOf(cause)).toBe(from);
  });
});

describe("judgeFailure", () => {
  it("goes on while the budget lasts and names it when it does not", () => {
    const first = judgeFailure("killed", "m0 ended", NOTHING_SPENT, budget);
    expect(first).toEqual({ goOn: true, spent: { ...NOTHING_SPENT, node: 1 } });
    const second = judgeFailure("node", "m0 ended", first.spent, budget);
    expect(second.goOn).toBe(true);
    const third = judgeFailure("node", "m1 is gone", second.spent, budget);
    expect(third).toMatchObject({ goOn: false, reason: { code: "BudgetExhausted" } });
    expect(third).toHaveProperty("reason.sentence", expect.stringContaining("m1 is gone"));
  });

  it("keeps budgets apart", () => {
    const spent = { ...NOTHING_SPENT, oom: 1 };
    expect(judgeFailure("hang", "", spent, budget).goOn).toBe(true);
    expect(judgeFailure("oom", "", spent, budget).goOn).toBe(false);
  });

  it("lets no budget cover the user's own error, and charges nobody for a restart", () => {
    const rich = { error: 9, oom: 9, communication: 9, hang: 9, node: 9, storage: 9 };
    expect(judgeFailure("user_error", "loss is NaN", NOTHING_SPENT, rich)).toMatchObject({
      goOn: false,
      spent: NOTHING_SPENT,
      reason: { code: "UserError", sentence: "loss is NaN" },
    });
    expect(judgeFailure(RESTART, "", NOTHING_SPENT, { ...budget, node: 0, error: 0 })).toEqual({
      goOn: true,
      spent: NOTHING_SPENT,
    });
  });
});
