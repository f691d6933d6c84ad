import { request } from "node:http";
import { connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { bearerAuth } from "./auth.ts";
import { createHealth, type Health } from "./health.ts";
import { type HttpServer, startHttpServer } from "./http-server.ts";

const TOKEN = "a-token-of-enough-length";
let server: HttpServer | undefined;
let health: Health;
afterEach(async () => server?.close());

async function start(): Promise<string> {
  health = createHealth();
  server = await startHttpServer({
    listen: "127.0.0.1:0",
    authenticate: bearerAuth(TOKEN),
    health,
    pages: [
      { path: "/metrics", contentType: "text/plain; version=0.0.4", render: async () => "up 1\n" },
    ],
  });
  return server.address;
}

function get(path: string, headers: Record<string, string> = {}, method = "GET") {
  const [host, port] = (server?.address ?? "").split(":");
  return new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    request({ host, port, path, headers, method, agent: false }, (response) => {
      let body = "";
      response.on("data", (piece) => {
        body += piece;
      });
      response.on("end", () => resolve({ status: response.statusCode, body }));
    })
      .on("error", reject)
      .end();
  });
}

test("metrics want the token, health does not", async () => {
  await start();
  const authorization = `Bearer ${TOKEN}`;
  expect(await get("/metrics")).toMatchObject({ status: 401 });
  expect(await get("/metrics", { authorization })).toEqual({ status: 200, body: "up 1\n" });
  expect(await get("/other", { authorization })).toMatchObject({ status: 404 });
  expect(await get("/metrics", { authorization }, "POST")).toMatchObject({ status: 405 });
  expect(await get("/healthz")).toEqual({ status: 503, body: "not ready: starting\n" });
  health.ready();
  expect(await get("/healthz")).toEqual({ status: 200, body: "ok\n" });
  expect((await get("/healthz", {}, "HEAD")).body).toBe("");
});

test("a foreign Host or any Origin is refused", async () => {
  await start();
  expect(await get("/healthz", { host: "attacker.example" })).toMatchObject({ status: 403 });
  expect(await get("/healthz", { host: "localhost:80" })).toMatchObject({ status: 503 });
  expect(await get("/healthz", { origin: "https://attacker.example" })).toMatchObject({
    status: 403,
  });
});

test("headers above the limit are refused, and the server goes on", async () => {
  const address = await start();
  const [host, port] = address.split(":");
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(Number(port), host);
    let text = "";
    socket.on("data", (piece) => {
      text += piece;
    });
    socket.on("close", () => resolve(text));
    socket.on("error", () => undefined);
    socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`);
  });
  expect(answer).toContain("431");
  expect(await get("/healthz")).toMatchObject({ status: 503 });
});

test("refuses an open door on all addresses, and a taken port with its name", async () => {
  const common = { pages: [], health: createHealth() };
  await expect(
    startHttpServer({ ...common, listen: "0.0.0.0:0", authenticate: "open" }),
  ).rejects.toThrow("refusing to listen on 0.0.0.0:0");
  const taken = await start();
  await expect(startHttpServer({ ...common, listen: taken, authenticate: "open" })).rejects.toThrow(
    `cannot listen on ${taken}`,
  );
});
