import type { Checked, Problem, SwcCode } from "./core/swc-problem.ts";

/** A checkpoint cannot be read as it stands. Thrown by readers, caught where a command answers. */
export class Damage extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.code}: ${problem.sentence}`);
    this.name = "Damage";
    this.problem = problem;
  }

  static of(code: SwcCode, sentence: string): Damage {
    return new Damage({ code, sentence });
  }
}

/** The value, or its problem thrown. */
export function sound<T>(checked: Checked<T>): T {
  if (!checked.ok) throw new Damage(checked.problem);
  return checked.value;
}
