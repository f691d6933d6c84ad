import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import type { Flags } from "./invocation.ts";

/** The flags every verb has, decided: flag, else SHARDWRIGHT_* variable, else default. */
export interface Settings {
  readonly dataDir: string;
  /** `host:port` that was named; null = the one that serves the data directory. */
  readonly server: string | null;
  readonly tokenFile: string | null;
  readonly tenant: string;
  readonly requestTimeoutMs: number;
  readonly color: boolean;
  /** Questions may be asked. */
  readonly input: boolean;
  readonly yes: boolean;
  readonly verbosity: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

// Longer than any answer of ours; a person would have given up.
const REQUEST_TIMEOUT_MS_DEFAULT = 30_000;

export function settingsOf(
  flags: Flags,
  place: { readonly env: Environment; readonly cwd: string; readonly tty: boolean },
): Settings {
  const { env, cwd, tty } = place;
  const named = flags.text("data-dir") ?? filled(env["SHARDWRIGHT_DATA_DIR"]);
  const tokenFile = flags.text("token-file");
  return {
    dataDir: named === undefined ? defaultDataDir(env) : resolve(cwd, named),
    server: flags.text("server") ?? filled(env["SHARDWRIGHT_ADDRESS"]) ?? null,
    tokenFile: tokenFile === undefined ? null : resolve(cwd, tokenFile),
    tenant: flags.text("namespace") ?? "default",
    requestTimeoutMs: flags.duration("request-timeout") ?? REQUEST_TIMEOUT_MS_DEFAULT,
    color: tty && !filled(env["NO_COLOR"]) && env["TERM"] !== "dumb" && !flags.off("color"),
    input: tty && !flags.off("input"),
    yes: flags.on("yes"),
    verbosity: flags.count("verbosity") ?? 0,
  };
}

/** `${XDG_STATE_HOME:-~/.local/state}/shardwright`; a relative XDG path is ignored, as its specification says. */
export function defaultDataDir(env: Environment): string {
  const state = filled(env["XDG_STATE_HOME"]);
  const home = filled(env["HOME"]) ?? homedir();
  return join(
    state !== undefined && isAbsolute(state) ? state : join(home, ".local", "state"),
    "shardwright",
  );
}

function filled(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
