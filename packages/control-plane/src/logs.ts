import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@shardwright/service/clock";

/** One line that a member or one of its ranks wrote. */
export interface LogLine {
  readonly timeMs: number;
  readonly member: string;
  readonly rank: number | null;
  readonly generation: number;
  readonly level: string;
  readonly text: string;
}

export interface LogQuery {
  /** Folder with `<member>.<incarnation>.log` files; may not exist yet. */
  readonly directory: string;
  /** Empty: every member. */
  readonly member: string;
  readonly rank: number | null;
  /** Lines from the end; 0 means all. */
  readonly tailLines: number;
}

export interface FollowOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** True once nothing more will be written; what is there then is still delivered. */
  isOver(): Promise<boolean>;
}

/** More lines than this are read as a whole with tailLines 0. */
export const TAIL_LINES_MAX = 10_000;
// A line longer than this is cut: one broken progress bar must not fill the memory.
const LINE_BYTES_MAX = 64 * 1024;
// What one open file may hold in memory.
const READ_BYTES = 64 * 1024;
// How far back from its end a file is searched for the lines of a tail.
const TAIL_BYTES_MAX = 8 * 1024 * 1024;
// Members of one job, dead incarnations included; the newest are kept.
const FILES_MAX = 1_000;
const FOLLOW_POLL_MS = 250;

/**
 * The lines that are there now, of all files merged by time. Memory is bounded by one buffer per file plus,
 * for a tail, its lines.
 */
export async function* readLogs(query: LogQuery): AsyncGenerator<LogLine, void, void> {
  const files = new OpenLogs(query);
  try {
    await files.discover("tail");
    yield* query.tailLines === 0 ? files.merged() : await lastOf(files.merged(), query.tailLines);
  } finally {
    await files.close();
  }
}

/** Like `readLogs`, then every new line and new file until `isOver` or `signal`. */
export async function* followLogs(
  query: LogQuery,
  options: FollowOptions,
): AsyncGenerator<LogLine, void, void> {
  const files = new OpenLogs(query);
  try {
    await files.discover("tail");
    yield* query.tailLines === 0 ? files.merged() : await lastOf(files.merged(), query.tailLines);
    while (!options.signal.aborted) {
      const isOver = await options.isOver(); // asked before the last look, so that no line is missed
      await files.discover("start");
      yield* files.merged();
      if (isOver) return;
      await options.clock.sleep(FOLLOW_POLL_MS, options.signal);
    }
  } finally {
    await files.close();
  }
}

async function lastOf(lines: AsyncIterable<LogLine>, count: number): Promise<readonly LogLine[]> {
  const kept: LogLine[] = [];
  const limit = Math.min(count, TAIL_LINES_MAX);
  for await (const line of lines) {
    kept.push(line);
    if (kept.length >= 2 * limit) kept.splice(0, kept.length - limit);
  }
  return kept.slice(-limit);
}

/** The open files of one job, in the order of their names. */
class OpenLogs {
  private readonly query: LogQuery;
  private readonly files = new Map<string, LogFile>();

  constructor(query: LogQuery) {
    this.query = query;
  }

  /** Opens files that appeared; the first time at their tails. */
  async discover(from: "start" | "tail"): Promise<void> {
    const names = await readdir(this.query.directory).catch(() => []);
    const wanted = names
      .filter((name) => memberOf(name) !== undefined && !this.files.has(name))
      .filter((name) => this.query.member === "" || memberOf(name) === this.query.member)
      .sort()
      .slice(-(FILES_MAX - this.files.size));
    for (const name of wanted) {
      const handle = await open(join(this.query.directory, name), "r").catch(() => undefined);
      if (handle === undefined) continue;
      const file = new LogFile(handle, memberOf(name) ?? "");
      if (from === "tail" && this.query.tailLines > 0) {
        await file.seekTail(Math.min(this.query.tailLines, TAIL_LINES_MAX));
      }
      this.files.set(name, file);
    }
  }

  /** Everything that is complete now, smallest time first; ties in the order of names. */
  async *merged(): AsyncGenerator<LogLine, void, void> {
    const heads: { file: LogFile; line: LogLine }[] = [];
    for (const file of this.files.values()) {
      const line = await file.next();
      if (line !== undefined) heads.push({ file, line });
    }
    while (heads.length > 0) {
      const first = heads.reduce((a, b) => (b.line.timeMs < a.line.timeMs ? b : a));
      if (this.query.rank === null || first.line.rank === this.query.rank) yield first.line;
      const line = await first.file.next();
      if (line === undefined) heads.splice(heads.indexOf(first), 1);
      else first.line = line;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.files.values()].map((file) => file.close()));
  }
}

/** `m0.2.log` → `m0`; undefined for anything else. */
function memberOf(name: string): string | undefined {
  return /^([A-Za-z0-9-]+)\.\d+\.log$/.exec(name)?.[1];
}

class LogFile {
  private readonly handle: FileHandle;
  private readonly member: string;
  private position = 0;
  private rest = Buffer.alloc(0);
  /** Set while the rest of an overlong line is skipped. */
  private skipping = false;
  private timeMs = 0;

  constructor(handle: FileHandle, member: string) {
    this.handle = handle;
    this.member = member;
  }

  /** The next complete line, or undefined when there is none yet. */
  async next(): Promise<LogLine | undefined> {
    for (;;) {
      const end = this.rest.indexOf(0x0a);
      if (end >= 0) {
        const bytes = this.rest.subarray(0, end);
        this.rest = this.rest.subarray(end + 1);
        if (this.skipping) this.skipping = false;
        else return this.parse(bytes.toString("utf8"));
        continue;
      }
      if (this.rest.length >= LINE_BYTES_MAX) {
        const cut = this.rest.subarray(0, LINE_BYTES_MAX).toString("utf8");
        this.rest = Buffer.alloc(0);
        if (!this.skipping) {
          this.skipping = true;
          return this.parse(`${cut}…`);
        }
      }
      if (!(await this.fill())) return undefined;
    }
  }

  /** Moves to the start of the last `lines` lines. */
  async seekTail(lines: number): Promise<void> {
    const { size } = await this.handle.stat();
    const floor = Math.max(0, size - TAIL_BYTES_MAX);
    let wanted = lines + 1; // the newline that ends the line before
    let isLastByte = true;
    for (let end = size; end > floor; end -= READ_BYTES) {
      const begin = Math.max(floor, end - READ_BYTES);
      const piece = Buffer.alloc(end - begin);
      await this.handle.read(piece, 0, piece.length, begin);
      for (let i = piece.length - 1; i >= 0; i--) {
        const isNewline = piece[i] === 0x0a;
        // The file's own last newline ends its last line; an unfinished last line is one as well.
        if (isNewline || isLastByte) wanted -= 1;
        isLastByte = false;
        if (isNewline && wanted === 0) {
          this.position = begin + i + 1;
          return;
        }
      }
    }
    this.position = floor;
    this.skipping = floor > 0; // in the middle of a line
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private async fill(): Promise<boolean> {
    const piece = Buffer.alloc(READ_BYTES);
    const { bytesRead } = await this.handle.read(piece, 0, READ_BYTES, this.position);
    this.position += bytesRead;
    this.rest = Buffer.concat([this.rest, piece.subarray(0, bytesRead)]);
    return bytesRead > 0;
  }

  /** A JSON record of agent or rank, or a plain line (a traceback), which has the time of the line before. */
  private parse(text: string): LogLine {
    const record = asRecord(text);
    const time = Date.parse(String(record?.["time"]));
    if (Number.isFinite(time)) this.timeMs = time;
    if (record === undefined) {
      const line = { timeMs: this.timeMs, member: this.member, rank: null, generation: 0 };
      return { ...line, level: "", text };
    }
    const { rank, generation, level, msg } = record;
    return {
      timeMs: this.timeMs,
      member: this.member,
      rank: isCount(rank) ? rank : null,
      generation: isCount(generation) ? generation : 0,
      level: typeof level === "string" ? level : "",
      text: sentenceOf(String(msg), record),
    };
  }
}

const FRAME_FIELDS = new Set(
  "time level msg svc ver ns job member rank generation pid hostname".split(" "),
);

/** The message with its other fields behind it, as a person reads them. */
function sentenceOf(message: string, record: Readonly<Record<string, unknown>>): string {
  const fields = Object.entries(record)
    .filter(([key]) => !FRAME_FIELDS.has(key))
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [message, ...fields].join(" ");
}

function asRecord(text: string): Readonly<Record<string, unknown>> | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    const isRecord = typeof value === "object" && value !== null && "msg" in value;
    return isRecord ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
