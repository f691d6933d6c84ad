import type { Ran } from "./harness.ts";

// Each call is a process of its own; more at once than this only wait for each other.
const CALLS_MAX = 3;

/** What a refusal must be like. */
export interface Expected {
  readonly code: number;
  /** All of it stands in what is said. */
  readonly mentions: readonly string[];
  /** None of it does. */
  readonly secrets: readonly string[];
}

/** Runs the cases a few at a time; every answer comes back, in the order of the cases. */
export async function each<C, R>(
  cases: readonly C[],
  run: (one: C) => Promise<R>,
): Promise<[C, R][]> {
  const answers: [C, R][] = [];
  const rest = cases.entries();
  const worker = async (): Promise<void> => {
    for (const [at, one] of rest) answers[at] = [one, await run(one)];
  };
  await Promise.all(Array.from({ length: CALLS_MAX }, worker));
  return answers;
}

/** What is wrong with a refusal, in words; empty when it is as it should be. */
export function faultsOf(ran: Ran, expected: Expected): string[] {
  const said = ran.stdout + ran.stderr;
  const faults = expected.mentions
    .filter((text) => !ran.stderr.includes(text))
    .map((text) => `does not say ${JSON.stringify(text)}`);
  if (ran.code !== expected.code) faults.push(`ended with ${ran.code}, expected ${expected.code}`);
  if (ran.stdout !== "") faults.push(`wrote to stdout: ${ran.stdout.slice(0, 200)}`);
  if (/^ {4}at /m.test(said)) faults.push("shows a stack");
  if (/internal error/i.test(said)) faults.push("is an internal error");
  if (expected.secrets.some((secret) => said.includes(secret))) faults.push("shows a secret");
  // A person reads this.
  if (said.length > 32_000) faults.push(`says ${said.length} characters`);
  return faults.length === 0 ? [] : [`${faults.join("; ")}\n${ran.stderr.slice(0, 600)}`];
}
