/** Why something broke, and whether the job may go on: each cause has its rule and its own durable budget. */
import type { FaultBudget, Reason } from "@shardwright/job";
import type { BudgetCause, Spent } from "./state.ts";

export const NOTHING_SPENT: Spent = {
  error: 0,
  oom: 0,
  communication: 0,
  hang: 0,
  node: 0,
  storage: 0,
};

export type Verdict =
  | { readonly goOn: true; readonly spent: Spent }
  | { readonly goOn: false; readonly spent: Spent; readonly reason: Reason };

/** The budget a cause is paid from; null: the user's own error, which no repetition cures. */
export function budgetOf(cause: string): BudgetCause | null {
  switch (cause) {
    case "user_error":
      return null;
    case "oom":
    case "communication":
    case "hang":
    case "storage":
      return cause;
    case "killed":
    case "node":
    case "preempted":
      return "node";
    default:
      return "error";
  }
}

/** Ended by us, to be started again: nobody's fault. */
export const RESTART = "restart";

/** Pays for one fault. The sentence is what the member or the shell said of it. */
export function judgeFailure(
  cause: string,
  sentence: string,
  spent: Spent,
  budget: FaultBudget,
): Verdict {
  if (cause === RESTART) return { goOn: true, spent };
  const from = budgetOf(cause);
  if (from === null) return { goOn: false, spent, reason: { code: "UserError", sentence } };
  const used = spent[from] + 1;
  const after = { ...spent, [from]: used };
  if (used <= budget[from]) return { goOn: true, spent: after };
  const reason = {
    code: "BudgetExhausted",
    sentence: `${used} faults of the kind ${from} without progress in between, the budget is ${budget[from]}; the last: ${sentence}`,
  };
  return { goOn: false, spent: after, reason };
}
