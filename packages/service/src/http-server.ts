import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Fault } from "@shardwright/job/faults";
import {
  type Authenticate,
  bearerOfHeader,
  hostOf,
  isLoopback,
  requireSafeListen,
} from "./auth.ts";
import type { Health } from "./health.ts";
import type { Part } from "./parts.ts";
import { SURFACES } from "./surfaces.ts";

/** A page that is rendered on each GET. */
export interface Page {
  readonly path: string;
  readonly contentType: string;
  render(): Promise<string>;
}

export interface HttpServerOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** Who may read the pages; `/healthz` is open. */
  readonly authenticate: Authenticate | "open";
  readonly pages: readonly Page[];
  readonly health: Health;
}

export interface HttpServer extends Part {
  readonly address: string;
}

// A scraper needs one connection; a few more allow for people and slow closers.
const CONNECTIONS_MAX = 64;
const HEADER_BYTES_MAX = 16 * 1024;
// A client that has not sent its few header lines in this time is not a scraper.
const REQUEST_MS_MAX = 10_000;

/** A small read-only HTTP server: `/healthz` and the given pages. GET and HEAD only, no bodies. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  requireSafeListen(options.listen, options.authenticate !== "open");
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: REQUEST_MS_MAX,
      requestTimeout: REQUEST_MS_MAX,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 65_000, // above the usual scrape interval
    },
    (request, response) => void answer(request, response, options),
  );
  server.maxConnections = CONNECTIONS_MAX;
  const port = await listenOn(server, options.listen);
  return {
    name: "http-server",
    address: `${options.listen.slice(0, options.listen.lastIndexOf(":"))}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listenOn(server: Server, listen: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(new Error(`cannot listen on ${listen}: ${error.message}`, { cause: error })),
    );
    server.listen(
      { host: hostOf(listen), port: Number(listen.slice(listen.lastIndexOf(":") + 1)) },
      () => {
        const bound = server.address();
        resolve(typeof bound === "object" && bound !== null ? bound.port : 0);
      },
    );
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpServerOptions,
): Promise<void> {
  try {
    const { status, contentType, body } = await respond(request, options);
    response.writeHead(status, headers(contentType, body));
    response.end(request.method === "HEAD" ? undefined : body);
  } catch (reason) {
    const fault = Fault.from(reason);
    const body = `${fault.message}\n`;
    const { http } = SURFACES[fault.kind];
    if (http === 401) response.setHeader("www-authenticate", "Bearer");
    response.writeHead(http, headers("text/plain; charset=utf-8", body));
    response.end(body);
  }
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

async function respond(request: IncomingMessage, options: HttpServerOptions): Promise<Answer> {
  const plain = "text/plain; charset=utf-8";
  requireOwnHost(request, options.listen);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return { status: 405, contentType: plain, body: "only GET and HEAD are answered here\n" };
  }
  const path = (request.url ?? "/").split("?", 1)[0];
  if (path === "/healthz") {
    const why = options.health.notReadyBecause();
    return why === undefined
      ? { status: 200, contentType: plain, body: "ok\n" }
      : { status: 503, contentType: plain, body: `not ready: ${why}\n` };
  }
  if (options.authenticate !== "open") {
    options.authenticate(bearerOfHeader(request.headers.authorization));
  }
  const page = options.pages.find((candidate) => candidate.path === path);
  if (page === undefined) throw new Fault("not_found", "there is no such page");
  return { status: 200, contentType: page.contentType, body: await page.render() };
}

/** A page of a browser that was rebound to 127.0.0.1 sends its own name as Host. */
function requireOwnHost(request: IncomingMessage, listen: string): void {
  if (!isLoopback(hostOf(listen))) return;
  const host = request.headers.host ?? "";
  const name = host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (!isLoopback(name)) throw new Fault("forbidden", "this host name is not served here");
  if (request.headers.origin !== undefined) {
    throw new Fault("forbidden", "pages of other origins may not read this");
  }
}

function headers(contentType: string, body: string): Record<string, string | number> {
  return {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
}
