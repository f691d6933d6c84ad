import { expect, test } from "vitest";
import { z } from "zod";
import { listenAddress, readEnvironment } from "./config.ts";

const Env = z.strictObject({
  SHARDWRIGHT_LISTEN: listenAddress.default("127.0.0.1:7070"),
  SHARDWRIGHT_DRAIN_TIMEOUT_MS: z.coerce.number().int().positive().default(25_000),
});

test("reads ours, ignores the rest, fills defaults", () => {
  const environment = {
    SHARDWRIGHT_LISTEN: "[::1]:1",
    PATH: "/bin",
    SHARDWRIGHT_PYTHON: "/python",
  };
  expect(readEnvironment(Env, environment)).toEqual({
    SHARDWRIGHT_LISTEN: "[::1]:1",
    SHARDWRIGHT_DRAIN_TIMEOUT_MS: 25_000,
  });
});

test("names every wrong variable in one error", () => {
  const environment = {
    SHARDWRIGHT_LISTEN: "host:99999",
    SHARDWRIGHT_DRAIN_TIMEOUT_MS: "soon",
    SHARDWRIGHT_PORT: "tcp://10.0.0.1:7070",
  };
  expect(() => readEnvironment(Env, environment)).toThrow(
    /bad configuration[\s\S]*SHARDWRIGHT_PORT[\s\S]*SHARDWRIGHT_LISTEN[\s\S]*SHARDWRIGHT_DRAIN_TIMEOUT_MS/,
  );
});
