/** What of a job's state seldom changes has a column of its own (settled-state.ts); where it is NULL, `state` has all. */
export const SETTLED_STATE: readonly string[] = ["ALTER TABLE jobs ADD COLUMN settled TEXT"];
