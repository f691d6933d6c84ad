import type { Io } from "../../packages/cli/src/io.ts";

/** A terminal-less process for verbs: nobody types, what is said is kept. */
export interface RecordedIo {
  readonly io: Io;
  /** Standard output and standard error so far. */
  said(): { readonly out: string; readonly err: string };
}

export function recordedIo(dataDir: string, changes: Partial<Io> = {}): RecordedIo {
  let out = "";
  let err = "";
  const io: Io = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    ask: async () => null,
    readStdin: async () => "",
    stdoutIsTty: false,
    stderrIsTty: false,
    stdinIsTty: false,
    columns: 80,
    env: { SHARDWRIGHT_DATA_DIR: dataDir },
    cwd: dataDir,
    now: () => 0,
    onInterrupt: () => undefined,
    program: "shardctl",
    ...changes,
  };
  return { io, said: () => ({ out, err }) };
}
