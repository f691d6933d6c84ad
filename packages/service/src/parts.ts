/** Something with a lifetime: a server, a store, a loop. `close` is called once, must be idempotent, may reject. */
export interface Part {
  readonly name: string;
  close(): Promise<void>;
}

/**
 * Closes what was opened last first, all within one deadline. Returns the names of parts that were late or
 * failed; they never stop the others.
 */
export async function closeInReverse(
  parts: readonly Part[],
  deadlineMs: number,
  now: () => number,
): Promise<readonly string[]> {
  const until = now() + deadlineMs;
  const late: string[] = [];
  for (const part of [...parts].reverse()) {
    if (!(await settlesWithin(() => part.close(), Math.max(0, until - now()))))
      late.push(part.name);
  }
  return late;
}

/** True when the work resolves in time; a rejection counts as late. */
async function settlesWithin(work: () => Promise<void>, deadlineMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), deadlineMs);
  });
  const done = Promise.resolve()
    .then(work)
    .then(
      () => true,
      () => false,
    );
  try {
    return await Promise.race([done, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}
