import { EventEmitter, on, once } from "node:events";
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Fault } from "@shardwright/job/faults";
import { type Authenticate, bearerOf, requireSafeListen } from "./auth.ts";
import { asStatus } from "./fault-trailer.ts";
import type { Part } from "./parts.ts";

/** What a handler knows of who calls. `signal` fires when the caller hangs up or the server drains. */
export interface Caller {
  readonly signal: AbortSignal;
  /** The bearer token as sent; already checked by the service's `authenticate`. */
  readonly token: string | undefined;
  /** Address of the peer, for audit lines. */
  readonly peer: string;
}

// Requests a duplex stream may have read ahead of its handler.
const DUPLEX_BACKLOG_MAX = 16;

type Streaming<Q, R> = ServerWritableStream<Q, R> | ServerDuplexStream<Q, R>;

/** One request, one answer. A deadline is required: a caller that waits for ever is a leak on both sides. */
export function unary<Q, R>(
  handle: (request: Q, caller: Caller) => Promise<R>,
): handleUnaryCall<Q, R> {
  return (call, reply) => {
    if (call.getDeadline() === Number.POSITIVE_INFINITY) {
      reply(asStatus(new Fault("invalid", "a deadline is required on this call")));
      return;
    }
    Promise.resolve()
      .then(() => handle(call.request, callerOf(call, hungUp(call).signal)))
      .then(
        (response) => reply(null, response),
        (reason: unknown) => reply(asStatus(reason)),
      );
  };
}

/** One request, many answers; `handle` is an async generator that watches `caller.signal`. */
export function serverStream<Q, R>(
  drain: AbortSignal,
  handle: (request: Q, caller: Caller) => AsyncIterable<R>,
): handleServerStreamingCall<Q, R> {
  return (call) => void pump(call, drain, (caller) => handle(call.request, caller));
}

/** Both sides stream. The request iterable ends when the peer does, when it hangs up, and at drain. */
export function duplex<Q, R>(
  drain: AbortSignal,
  handle: (requests: AsyncIterable<Q>, caller: Caller) => AsyncIterable<R>,
): handleBidiStreamingCall<Q, R> {
  return (call) => void pump(call, drain, (caller) => handle(requestsOf(call, caller), caller));
}

/** Never `for await (… of call)`: that ignores the drain while the peer is idle. */
async function* requestsOf<Q, R>(
  call: ServerDuplexStream<Q, R>,
  caller: Caller,
): AsyncGenerator<Q, void, void> {
  const options = { signal: caller.signal, close: ["end"], highWaterMark: DUPLEX_BACKLOG_MAX };
  try {
    for await (const [request] of on(call, "data", options)) yield request as Q;
  } catch (reason) {
    if (!caller.signal.aborted) throw reason;
  }
}

async function pump<Q, R>(
  call: Streaming<Q, R>,
  drain: AbortSignal,
  open: (caller: Caller) => AsyncIterable<R>,
): Promise<void> {
  const end = hungUp(call);
  // Not AbortSignal.any: with a process-wide signal it keeps every call's signal alive.
  const abort = (): void => end.abort();
  drain.addEventListener("abort", abort, { once: true });
  if (drain.aborted) abort();
  try {
    for await (const message of open(callerOf(call, end.signal))) {
      if (call.cancelled) return;
      if (!call.write(message)) {
        await once(call, "drain", { signal: end.signal }).catch(() => undefined);
      }
    }
    call.end();
  } catch (reason) {
    // A handler that was told to stop may fail from it; that is a clean end, not a fault.
    if (end.signal.aborted) call.end();
    else call.emit("error", asStatus(reason));
  } finally {
    drain.removeEventListener("abort", abort);
  }
}

function hungUp(call: EventEmitter): AbortController {
  const controller = new AbortController();
  call.once("cancelled", () => controller.abort());
  return controller;
}

function callerOf(
  call: { readonly metadata: Metadata; getPeer(): string },
  signal: AbortSignal,
): Caller {
  return { signal, token: bearerOf(call.metadata), peer: call.getPeer() };
}

/** One gRPC service behind one door: there is no way to register one without saying who may call it. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** `"open"` exists for tests and `--insecure-no-auth`; it is refused on other than loopback addresses. */
  readonly authenticate: Authenticate | "open";
}

/** Told of every call: for metrics and logs. `seconds` is 0 at the start. */
export interface RpcWatcher {
  started(path: string, streams: boolean): void;
  ended(path: string, streams: boolean, outcome: { code: status; seconds: number }): void;
}

export interface RpcServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly ServedService[];
  /** Aborted at close, so that streams end cleanly and clients go on from their last revision. */
  readonly drain: AbortController;
  readonly shutdownMs?: number;
  readonly watcher?: RpcWatcher;
  /** Told of what became "internal error" outside. */
  readonly onInternal?: (path: string, fault: Fault) => void;
}

export interface RpcServer extends Part {
  /** `host:port` with the real port. */
  readonly address: string;
}

// tryShutdown waits for ever on an open stream; after this the streams are cut.
const SHUTDOWN_MS_DEFAULT = 5_000;

const SERVER_LIMITS = {
  "grpc.max_receive_message_length": 4 * 1024 * 1024,
  "grpc.max_send_message_length": 16 * 1024 * 1024, // block maps and lists of jobs
  "grpc.max_concurrent_streams": 100,
  // A ping after a graceful GOAWAY kills calls in flight: longer than our longest unary call.
  "grpc.keepalive_time_ms": 300_000,
  "grpc.keepalive_timeout_ms": 20_000,
  "grpc.max_connection_age_ms": 6 * 3_600_000,
  "grpc.max_connection_age_grace_ms": 600_000,
};

/** Starts listening. Refuses an address that others can reach while a service is `"open"`. */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const { drain, listen } = options;
  requireSafeListen(
    listen,
    options.services.every((service) => service.authenticate !== "open"),
  );
  // Every open stream listens to the drain.
  EventEmitter.setMaxListeners(0, drain.signal);
  const server = new Server(SERVER_LIMITS);
  for (const service of options.services) {
    server.addService(service.definition, guarded(service, options));
  }
  const port = await bind(server, listen);
  return {
    name: "rpc-server",
    address: `${listen.slice(0, listen.lastIndexOf(":"))}:${port}`,
    close: () => shutDown(server, drain, options.shutdownMs ?? SHUTDOWN_MS_DEFAULT),
  };
}

function bind(server: Server, listen: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, ServerCredentials.createInsecure(), (error, port) =>
      error === null
        ? resolve(port)
        : reject(new Error(`cannot listen on ${listen}: ${error.message}`, { cause: error })),
    );
  });
}

async function shutDown(server: Server, drain: AbortController, deadlineMs: number): Promise<void> {
  drain.abort();
  await new Promise<void>((resolve) => {
    const late = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, deadlineMs);
    server.tryShutdown(() => {
      clearTimeout(late);
      resolve();
    });
  });
}

type AnyCall = ServerUnaryCall<unknown, unknown> & Streaming<unknown, unknown>;
type Failure = { readonly code?: status; readonly fault?: Fault };
type Reply = (error: Failure | null, ...rest: unknown[]) => void;

/** The implementation with authentication before and observation around every method. */
function guarded(service: ServedService, options: RpcServerOptions): UntypedServiceImplementation {
  const guards = Object.entries(service.definition).map(([name, method]) => {
    const handler = service.implementation[name];
    if (handler === undefined) throw new Error(`${method.path} has no implementation`);
    const run = handler as unknown as (call: AnyCall, reply?: Reply) => void;
    const guard = (call: AnyCall, reply?: Reply): void => {
      const answer = observed(call, { path: method.path, reply, options });
      try {
        if (service.authenticate !== "open") service.authenticate(bearerOf(call.metadata));
      } catch (reason) {
        const refusal = asStatus(reason);
        if (answer === undefined) call.emit("error", refusal);
        else answer(refusal);
        return;
      }
      run(call, answer);
    };
    return [name, guard as unknown as UntypedHandleCall] as const;
  });
  return Object.fromEntries(guards);
}

/** Reports start and end of a call to the watcher; returns the reply to use instead of the given one. */
function observed(
  call: AnyCall,
  about: { path: string; reply: Reply | undefined; options: RpcServerOptions },
): Reply | undefined {
  const { path, reply, options } = about;
  const streams = reply === undefined;
  const begun = performance.now();
  let over = false;
  const end = (code: status, fault?: Fault): void => {
    if (over) return;
    over = true;
    if (fault?.kind === "internal") options.onInternal?.(path, fault);
    options.watcher?.ended(path, streams, { code, seconds: (performance.now() - begun) / 1000 });
  };
  options.watcher?.started(path, streams);
  call.once("cancelled", () => end(status.CANCELLED));
  if (streams) {
    call.once("finish", () => end(status.OK));
    call.once("error", ({ code, fault }: Failure) => end(code ?? status.INTERNAL, fault));
    return undefined;
  }
  return (error, ...rest) => {
    if (error === null) end(status.OK);
    else end(error.code ?? status.INTERNAL, error.fault);
    reply(error, ...rest);
  };
}
