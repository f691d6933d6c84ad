import { EXIT, Refusal } from "./exit.ts";

/** Everything a verb may touch of the process it runs in; tests pass their own. */
export interface Io {
  /** Data only. */
  out(text: string): void;
  /** Messages, progress, questions, warnings. */
  err(text: string): void;
  /** One line typed by a person; null at the end of the input. */
  ask(question: string): Promise<string | null>;
  /** All of standard input, refused above `bytesMax`. */
  readStdin(bytesMax: number): Promise<string>;
  readonly stdoutIsTty: boolean;
  readonly stderrIsTty: boolean;
  readonly stdinIsTty: boolean;
  readonly columns: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Unix milliseconds. */
  now(): number;
  /** Said on Ctrl-C before the process ends with 130; null says nothing. */
  onInterrupt(say: string | null): void;
  /** How the user called us, for hints: `shardctl` or `kubectl shardwright`. */
  readonly program: string;
}

/** The real one. */
export function processIo(
  own: NodeJS.Process,
  program: string,
): Io & { interrupted(): string | null } {
  let farewell: string | null = null;
  return {
    out: (text) => void own.stdout.write(text),
    err: (text) => void own.stderr.write(text),
    ask: async (question) => {
      const { createInterface } = await import("node:readline/promises");
      const lines = createInterface({ input: own.stdin, output: own.stderr });
      try {
        return await new Promise<string | null>((resolve) => {
          lines.once("close", () => resolve(null));
          lines.question(question).then(resolve, () => resolve(null));
        });
      } finally {
        lines.close();
      }
    },
    readStdin: (bytesMax) => readAll(own.stdin, bytesMax),
    stdoutIsTty: own.stdout.isTTY === true,
    stderrIsTty: own.stderr.isTTY === true,
    stdinIsTty: own.stdin.isTTY === true,
    columns: own.stderr.columns || 80,
    env: own.env,
    cwd: own.cwd(),
    now: () => Date.now(),
    onInterrupt: (say) => {
      farewell = say;
    },
    interrupted: () => farewell,
    program,
  };
}

async function readAll(input: AsyncIterable<Buffer | string>, bytesMax: number): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of input) {
    const bytes = Buffer.from(part);
    size += bytes.length;
    if (size > bytesMax) {
      throw new Refusal(EXIT.usage, `standard input is larger than ${bytesMax} bytes`);
    }
    parts.push(bytes);
  }
  return textOf(Buffer.concat(parts), "standard input");
}

/** Bytes as text; a Refusal that names `origin` where they are no UTF-8, instead of text nobody wrote. */
export function textOf(bytes: Buffer, origin: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal(EXIT.usage, `${origin} is not UTF-8 text`, {
      next: "save it again as UTF-8",
    });
  }
}
