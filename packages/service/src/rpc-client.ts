import {
  type CallOptions,
  type ChannelCredentials,
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { faultOf } from "./fault-trailer.ts";

// Nothing heavy may be imported here: the cold start of every shardctl verb pays for it.

type UnaryMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: R) => void,
) => ClientUnaryCall;
type ServerStreamMethod<Q, R> = (
  request: Q,
  metadata?: Metadata,
  options?: Partial<CallOptions>,
) => ClientReadableStream<R>;
type DuplexMethod<Q, R> = (
  metadata: Metadata,
  options?: Partial<CallOptions>,
) => ClientDuplexStream<Q, R>;

/** The constructor that ts-proto generates for a service. */
export type ClientConstructor<C extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => C;

/** One client on one channel; every failure it throws is a Fault with the complaints of the server. */
export interface Connection<C extends Client> {
  readonly address: string;
  /** One request, one answer, within `deadlineMs`. */
  call<Q, R>(
    method: (client: C) => UnaryMethod<Q, R>,
    request: Q,
    options: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  ): Promise<R>;
  /** Answers until the server ends; leaving the loop or aborting `signal` cancels the call. */
  stream<Q, R>(
    method: (client: C) => ServerStreamMethod<Q, R>,
    request: Q,
    signal?: AbortSignal,
  ): AsyncGenerator<R, void, void>;
  duplex<Q, R>(method: (client: C) => DuplexMethod<Q, R>): Duplex<Q, R>;
  close(): void;
}

/** A two-way stream: `send` may be called at any time before `end`. */
export interface Duplex<Q, R> {
  send(request: Q): void;
  end(): void;
  cancel(): void;
  readonly responses: AsyncIterable<R>;
}

const CHANNEL_OPTIONS = {
  // A proxy of the environment must never see calls to 127.0.0.1.
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 5_000,
};

/** A channel that says who we are on each call. Connects lazily, at the first call. */
export function connect<C extends Client>(
  construct: ClientConstructor<C>,
  address: string,
  token: string | undefined,
): Connection<C> {
  const client = new construct(address, credentials.createInsecure(), CHANNEL_OPTIONS);
  const metadata = (): Metadata => {
    const made = new Metadata();
    if (token !== undefined) made.set("authorization", `Bearer ${token}`);
    return made;
  };
  return {
    address,
    call: (method, request, { deadlineMs, signal }) =>
      new Promise((resolve, reject) => {
        const options = { deadline: Date.now() + deadlineMs };
        const call = method(client).call(
          client,
          request,
          metadata(),
          options,
          (error, response) => {
            signal?.removeEventListener("abort", abort);
            if (error === null) resolve(response);
            else reject(faultOf(error, address));
          },
        );
        const abort = (): void => call.cancel();
        signal?.addEventListener("abort", abort, { once: true });
        if (signal?.aborted) abort();
      }),
    stream: (method, request, signal) =>
      readAll(method(client).call(client, request, metadata()), address, signal),
    duplex: (method) => {
      const call = method(client).call(client, metadata());
      return {
        send: (request) => void call.write(request),
        end: () => call.end(),
        cancel: () => call.cancel(),
        responses: readAll(call, address),
      };
    },
    close: () => client.close(),
  };
}

interface Responses<R> extends AsyncIterable<R> {
  cancel(): void;
  on(event: "error", listener: () => void): unknown;
}

async function* readAll<R>(
  call: Responses<R>,
  address: string,
  signal?: AbortSignal,
): AsyncGenerator<R, void, void> {
  const abort = (): void => call.cancel();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  // A cancel after we left the loop still emits an error; without a listener it would end the process.
  call.on("error", () => undefined);
  try {
    for await (const response of call) yield response;
  } catch (reason) {
    if (!signal?.aborted) throw faultOf(reason as ServiceError, address);
  } finally {
    signal?.removeEventListener("abort", abort);
    call.cancel();
  }
}
