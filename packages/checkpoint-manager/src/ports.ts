/** What became of a write-once object. */
export type Created =
  | { readonly outcome: "created" }
  /** The very same bytes stood there: an earlier try of ours, or an equal one of somebody else. */
  | { readonly outcome: "same" }
  /** Other bytes stand there; they are durable now. */
  | { readonly outcome: "taken"; readonly standing: Uint8Array };

/**
 * Where checkpoints lie. Paths are relative, with "/" between parts, of the letters A-Z a-z 0-9 . _ - only.
 * One contract suite (test/contract/register-suite.ts) holds for every adapter.
 */
export interface CheckpointStore {
  /** Write-once: at most one caller ever creates a path. Durable, with its folders, when it resolves. */
  create(path: string, bytes: Uint8Array): Promise<Created>;
  /** Makes or replaces a hint, atomically for readers. Never used for what decides anything. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  /** Bytes of a file, or null when there is none. */
  size(path: string): Promise<number | null>;
  /** Bytes [begin, end) of a file; fewer only where the file ends before. Rejects when there is none. */
  readRange(path: string, begin: number, end: number): Promise<Uint8Array>;
  /** Names in a folder, sorted; none when it is absent. What is listed has become durable before it resolves. */
  list(folder: string): Promise<readonly string[]>;
  /** Removes a file or a folder with all in it; absent is success. A folder is gone at once for readers. */
  remove(path: string): Promise<void>;
}
