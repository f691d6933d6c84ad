import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT, Refusal } from "./exit.ts";
import type { Io } from "./io.ts";
import type { Settings } from "./settings.ts";

/** What a running `up` writes into its data directory once it is ready, and removes at a clean stop. */
export interface ServerFile {
  /** Of JobService, `host:port`. */
  readonly address: string;
  /** Of CheckpointService. */
  readonly checkpointAddress: string;
  /** Of `/metrics`; null when it is off. */
  readonly metricsAddress: string | null;
  readonly tokenFile: string;
  readonly pid: number;
  readonly version: string;
}

/** Where to call and who we are. */
export interface Target {
  readonly address: string;
  readonly checkpointAddress: string;
  readonly token: string | undefined;
}

// A token is 43 characters; a larger file was named by mistake.
const TOKEN_BYTES_MAX = 4096;

/** Finds the control plane: the one that was named, else the one that serves the data directory. */
export function findTarget(settings: Settings, io: Pick<Io, "env" | "program">): Target {
  const local = readServerFile(settings.dataDir);
  const isLocal = settings.server === null || settings.server === local?.address;
  if (isLocal && local === null) {
    throw new Refusal(EXIT.unreachable, "no control plane is running here", {
      why: `${join(settings.dataDir, "server.json")} does not exist`,
      next: `${io.program} up --detach    (or name another data directory with --data-dir)`,
    });
  }
  const address = settings.server ?? local?.address ?? "";
  return {
    address,
    checkpointAddress: isLocal && local !== null ? local.checkpointAddress : address,
    token:
      namedToken(settings, io) ??
      (isLocal && local !== null ? localToken(local) : missing(address)),
  };
}

/** The file of a running server; null when there is none. Throws a Refusal when it cannot be understood. */
export function readServerFile(dataDir: string): ServerFile | null {
  const path = join(dataDir, "server.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new Refusal(EXIT.unreachable, `cannot read ${path}`, { why: (error as Error).message });
  }
  try {
    const file = JSON.parse(text) as ServerFile;
    if (typeof file.address === "string" && typeof file.tokenFile === "string") return file;
  } catch {
    // Said below.
  }
  throw new Refusal(EXIT.unreachable, `${path} is not a server file`, {
    why: "expected JSON with address, tokenFile and pid",
    next: "stop the control plane that serves this directory, remove the file, start it again",
  });
}

/** Never the token of the local data directory for a server that somebody else runs. */
function missing(address: string): never {
  throw new Refusal(EXIT.denied, `no token for ${address}`, {
    why: "the token of the data directory is only sent to the control plane that serves it",
    next: "name the token with --token-file",
  });
}

function namedToken(settings: Settings, io: Pick<Io, "env">): string | undefined {
  return settings.tokenFile === null
    ? io.env["SHARDWRIGHT_TOKEN"] || undefined
    : readToken(settings.tokenFile);
}

function localToken(file: ServerFile): string {
  return readToken(file.tokenFile);
}

function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new Refusal(EXIT.denied, `cannot read the token file ${path}`, {
      why: (error as Error).message,
    });
  }
  if (token.length > 0 && token.length <= TOKEN_BYTES_MAX && /^[\x21-\x7e]+$/.test(token))
    return token;
  throw new Refusal(EXIT.denied, `${path} holds no token`, {
    why: "expected one line of printable characters",
  });
}
