import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino";

/** A pino logger: the message is a constant sentence, the data stands in fields. */
export type Log = Logger;

/** What a child logger may be bound to. */
export interface LogBinding {
  readonly job?: string;
  readonly generation?: number;
  readonly member?: string;
  readonly rank?: number;
}

export interface LogOptions {
  readonly service: string;
  readonly version: string;
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  /** Standard output when absent. */
  readonly destination?: DestinationStream;
}

/** One JSON line per record; secrets are cut out before anything is written. */
export function createLog(options: LogOptions): Log {
  const settings = {
    level: options.level,
    base: { svc: options.service, ver: options.version },
    timestamp: stdTimeFunctions.isoTime,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => redact(fields) as Record<string, unknown>,
    },
    serializers: { ...SECRET_FIELDS, err: (error: unknown) => error },
    // Last of all, so that messages and bindings of child loggers are covered too.
    hooks: { streamWrite: (line: string) => line.replace(SECRET_VALUES, "[redacted]") },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** A logger whose lines say which job, generation, member or rank they are about. */
export function logFor(log: Log, binding: LogBinding): Log {
  return log.child(binding);
}

/** For the bindings of child loggers, which formatters do not see. */
const SECRET_FIELDS = Object.fromEntries(
  ["authorization", "Authorization", "token", "apiKey", "password", "secret"].map((key) => [
    key,
    () => "[redacted]",
  ]),
);
const SECRET_KEYS = /^(authorization|token|apikey|api_key|password|secret)$/i;
const SECRET_VALUES =
  /\b(sk-[A-Za-z0-9_-]{8,}|hf_[A-Za-z0-9]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)|(?<=Bearer )[^\s"\\]+/g;
// Deeper structures are a mistake in a log line; cutting them bounds the cost of a record.
const DEPTH_MAX = 6;
const TEXT_CHARS_MAX = 8_192;

/** A copy without secrets. Errors become {kind, message, stack} with their chain of causes. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") {
    return value.slice(0, TEXT_CHARS_MAX);
  }
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return "[…]";
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      SECRET_KEYS.test(key) ? "[redacted]" : redact(item, depth + 1),
    ]),
  );
}

function redactError(error: Error, depth: number): unknown {
  return {
    kind: "kind" in error ? error.kind : error.name,
    message: redact(error.message, depth + 1),
    stack: redact(error.stack ?? "", depth + 1),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
