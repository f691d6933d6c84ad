import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { bearerAuth, bearerOf, isLoopback, requireSafeListen } from "./auth.ts";

const TOKEN = "a-token-of-enough-length";

test.each([
  undefined,
  "",
  TOKEN.slice(0, -1),
  `${TOKEN}x`,
  TOKEN.toUpperCase(),
  "x".repeat(1_000_000),
])("refuses anything but the token", (presented) => {
  expect(() => bearerAuth(TOKEN)(presented)).toThrow(
    expect.objectContaining({ kind: "unauthenticated" }),
  );
});

test("accepts the token, and no short one can be set up", () => {
  expect(() => bearerAuth(TOKEN)(TOKEN)).not.toThrow();
  expect(() => bearerAuth("short")).toThrow("at least 16 characters");
});

test.each([
  ["Bearer abc", "abc"],
  ["bearer abc", "abc"],
  ["Basic abc", undefined],
  ["Bearer a b", undefined],
  ["Bearer ", undefined],
])("reads %s as %s", (header, token) => {
  const metadata = new Metadata();
  metadata.set("authorization", header);
  expect(bearerOf(metadata)).toBe(token);
});

test("two authorization values are none", () => {
  const metadata = new Metadata();
  metadata.add("authorization", "Bearer a");
  metadata.add("authorization", "Bearer b");
  expect(bearerOf(metadata)).toBeUndefined();
});

test.each([
  ["127.0.0.1", true],
  ["127.8.9.1", true],
  ["::1", true],
  ["localhost", true],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
  ["127.0.0.1.example.org", false],
  ["localhost.example.org", false],
])("%s is loopback: %s", (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

test("an open door is allowed on loopback only", () => {
  expect(() => requireSafeListen("[::1]:7070", false)).not.toThrow();
  expect(() => requireSafeListen("0.0.0.0:7070", true)).not.toThrow();
  expect(() => requireSafeListen("[::]:7070", false)).toThrow("refusing to listen on [::]:7070");
});
