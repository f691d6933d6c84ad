/** What a column holds. Numbers are safe integers or finite reals; times are Unix milliseconds. */
export type Value = string | number | null;
export type Row = Readonly<Record<string, Value>>;

/** Statements with `$1, $2, …` in the SQL that SQLite and PostgreSQL share. */
export interface Queries {
  /** Rows changed. */
  run(sql: string, ...values: readonly Value[]): Promise<number>;
  get(sql: string, ...values: readonly Value[]): Promise<Row | undefined>;
  all(sql: string, ...values: readonly Value[]): Promise<readonly Row[]>;
}

/** Work inside a transaction: it may await nothing but its queries. */
export type Work<T> = (queries: Queries) => Promise<T>;

/** A database with durable, serialised writes. */
export interface SqlDatabase {
  /** Sees what is committed. */
  readonly committed: Queries;
  /** Resolves when the work is durable; a work that throws leaves nothing behind. */
  write<T>(work: Work<T>): Promise<T>;
  /** Writes what is waiting, then closes. */
  close(): Promise<void>;
}

/** The connection that writes; commands are given one at a time. */
export interface WriteConnection extends Queries {
  begin(): Promise<void>;
  execute(sql: string): Promise<void>;
}

/** Told how long a write waited for its durable acknowledgement. */
export type ObserveAppend = (seconds: number) => void;

/** A number that a column can hold without losing digits; throws on anything else. That is a bug of ours. */
export function assertStorable(value: Value): Value {
  if (value === null || typeof value === "string") return value;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new TypeError(`cannot store ${String(value)} (${typeof value})`);
  }
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new RangeError(`cannot store ${value}: above 2^53 digits are lost`);
  }
  return value;
}

// More waiting writers than this is an overload that must be seen, not hidden in memory.
const WRITES_WAITING_MAX = 100_000;
// One commit of this many writes stays below the patience of the event loop.
const WRITES_PER_COMMIT_MAX = 1_000;

interface Waiting {
  readonly since: number;
  work(queries: Queries): Promise<void>;
  acknowledge(): void;
  reject(reason: unknown): void;
}

/**
 * Group commit: writers that arrive while the disk is busy, or in the same turn of the event loop, share one
 * commit. Each of them succeeds or fails by itself.
 */
export class GroupCommit {
  private readonly connection: WriteConnection;
  private readonly observe: ObserveAppend;
  private waiting: Waiting[] = [];
  private running: Promise<void> | undefined;

  constructor(connection: WriteConnection, observe: ObserveAppend) {
    this.connection = connection;
    this.observe = observe;
  }

  write<T>(work: Work<T>): Promise<T> {
    if (this.waiting.length >= WRITES_WAITING_MAX) {
      return Promise.reject(new Error(`${WRITES_WAITING_MAX} writes are waiting for the disk`));
    }
    return new Promise<T>((resolve, reject) => {
      let result: T;
      this.waiting.push({
        since: performance.now(),
        work: async (queries) => {
          result = await work(queries);
        },
        acknowledge: () => resolve(result),
        reject,
      });
      this.running ??= this.drain();
    });
  }

  /** Resolves when nothing is waiting any more. */
  async settled(): Promise<void> {
    while (this.running !== undefined) await this.running;
  }

  private async drain(): Promise<void> {
    while (this.waiting.length > 0) {
      // After the I/O of this turn: everybody who writes during it is in the same commit.
      await new Promise((resolve) => setImmediate(resolve));
      await this.commit(this.waiting.splice(0, WRITES_PER_COMMIT_MAX));
    }
    this.running = undefined;
  }

  private async commit(batch: readonly Waiting[]): Promise<void> {
    const done: Waiting[] = [];
    try {
      await this.connection.begin();
      for (const entry of batch) if (await this.attempt(entry)) done.push(entry);
      await this.connection.execute("COMMIT");
    } catch (reason) {
      await this.connection.execute("ROLLBACK").catch(() => undefined);
      for (const entry of batch) entry.reject(reason);
      return;
    }
    const now = performance.now();
    for (const entry of done) {
      this.observe((now - entry.since) / 1000);
      entry.acknowledge();
    }
  }

  /** A savepoint per work: the refusal of one does not undo its neighbours. */
  private async attempt(entry: Waiting): Promise<boolean> {
    await this.connection.execute("SAVEPOINT work");
    try {
      await entry.work(this.connection);
    } catch (reason) {
      await this.connection.execute("ROLLBACK TO SAVEPOINT work");
      entry.reject(reason);
      return false;
    }
    await this.connection.execute("RELEASE SAVEPOINT work");
    return true;
  }
}
