import { describe, expect, it } from "vitest";
import { age, parseDuration, seconds } from "./duration.ts";

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const D = 24 * H;

describe("age", () => {
  it.each([
    [0, "0s"],
    [119 * S, "119s"],
    [3 * M + 12 * S, "3m12s"],
    [4 * M, "4m"],
    [10 * M + 59 * S, "10m"],
    [3 * H, "3h"],
    [3 * H + 20 * M, "3h20m"],
    [47 * H + 59 * M, "47h"],
    [2 * D + 3 * H, "2d3h"],
    [8 * D, "8d"],
    [731 * D, "2y1d"],
    [-1, "<invalid>"],
  ])("of %d ms is %s", (ms, expected) => expect(age(ms)).toBe(expected));
});

it("seconds keeps tenths only where they matter", () => {
  expect([0, 0.031, 0.62, 9.96, 12.4, 192].map(seconds)).toEqual([
    "0 ms",
    "31 ms",
    "0.6 s",
    "10.0 s",
    "12 s",
    "3m12s",
  ]);
});

describe("parseDuration", () => {
  it.each([
    ["10m", 10 * M],
    ["1h30m", 90 * M],
    ["0.5s", 500],
    ["250ms", 250],
    ["90", 90 * S],
  ])("reads %s", (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(["", "10 m", "-5s", "m", "10x", "1h-3m", "1e3s"])("refuses %j", (text) =>
    expect(parseDuration(text)).toBeNull(),
  );
});
