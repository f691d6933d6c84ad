import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { LogLine } from "@shardwright/proto";
import type { MemberClaims } from "./member-token.ts";

/** Keeps what ranks and agents log beside what their processes print. */
export interface MemberLogs {
  /** Resolves when the lines are written; lines above the limit of a member are dropped and said so once. */
  append(claims: MemberClaims, lines: readonly LogLine[]): Promise<void>;
}

// A job that logs more than this is broken; its first lines say why.
const MEMBER_BYTES_MAX = 64 * 1024 * 1024;
const TEXT_CHARS_MAX = 16 * 1024;

/** JSON lines in `<directory of the job>/<member>.<incarnation>.log`, as logs.ts reads them. */
export function createMemberLogs(directoryOf: (uid: string) => string): MemberLogs {
  const written = new Map<string, number>();
  return {
    append: async (claims, lines) => {
      const { uid, member, incarnation } = claims;
      const directory = directoryOf(uid);
      const path = join(directory, `${member}.${incarnation}.log`);
      const before = written.get(path) ?? 0;
      if (before > MEMBER_BYTES_MAX) return;
      const text = lines.map(lineOf).join("");
      const isLast = before + text.length > MEMBER_BYTES_MAX;
      written.set(path, before + text.length);
      await mkdir(directory, { recursive: true });
      await appendFile(
        path,
        isLast ? `${text}(this member's log is full; nothing more is kept)\n` : text,
      );
    },
  };
}

function lineOf({ timeUnixMs, rank, level, text }: LogLine): string {
  const time = new Date(Number(timeUnixMs)).toISOString();
  const msg = text.slice(0, TEXT_CHARS_MAX);
  return `${JSON.stringify({ level, time, ...(rank === undefined ? {} : { rank }), msg })}\n`;
}
