import type { Changes, JobHistory, JobStore } from "../ports.ts";

/** The three faces of one journal: jobs, their rows, and who is told of changes. */
export type Journal = JobStore & JobHistory & Changes;

/** An answer to a mutation is remembered this long; a client that asks again later asks anew. */
export const ANSWER_KEPT_MS = 86_400_000;
/** Removals that watchers may still ask about; who is further behind starts anew. */
export const REMOVALS_KEPT_MAX = 10_000;

export type Removal = ReturnType<Changes["removedSince"]>[number];

/** Who is told of changes, and what was removed. */
export interface Bulletin {
  readonly sequence: number;
  subscribe: Changes["subscribe"];
  removedSince: Changes["removedSince"];
  /** After a durable change of a job. */
  changed(uid: string, sequence: number): void;
  /** After a durable removal. */
  removed(removal: Removal): void;
}

export function createBulletin(sequence: number): Bulletin {
  let highest = sequence;
  const removals: Removal[] = [];
  const listeners = new Set<(uid: string) => void>();
  const tell = (uid: string, at: number): void => {
    highest = Math.max(highest, at);
    for (const listener of listeners) listener(uid);
  };
  return {
    get sequence() {
      return highest;
    },
    subscribe: (listener) => {
      // A function of its own per subscription: the same listener may be given twice.
      const own = (uid: string): void => listener(uid);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    removedSince: (since) => removals.filter((removal) => removal.sequence > since),
    changed: tell,
    removed: (removal) => {
      removals.push(removal);
      if (removals.length > REMOVALS_KEPT_MAX) removals.shift();
      tell(removal.uid, removal.sequence);
    },
  };
}

/** The error of a lane that was reported twice with different examples: the promise of exactness is broken. */
export function laneDiffers(uid: string, step: number, lane: number): Error {
  return new Error(
    `lane ${lane} of step ${step} of job ${uid} was reported with other examples than before`,
  );
}

/** `tenant/name`, the `afterName` of a page over all tenants, in its parts; empty is before everything. */
export function splitCursor(afterName: string): readonly [string, string] {
  const slash = afterName.indexOf("/");
  return slash < 0 ? [afterName, ""] : [afterName.slice(0, slash), afterName.slice(slash + 1)];
}
