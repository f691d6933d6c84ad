import { expect, it } from "vitest";
import { bytes, compact } from "./quantity.ts";

it("compact keeps two or three digits", () => {
  expect([0, 0.4, 7, 950, 1900, 12_400, 3_400_000, 2e9, Number.NaN].map(compact)).toEqual([
    "0",
    "0.4",
    "7",
    "950",
    "1.9k",
    "12k",
    "3.4M",
    "2.0G",
    "-",
  ]);
});

it("bytes are binary and say so", () => {
  expect([0, 1023, 1024, 4_509_715_661, 5n * 1024n ** 4n].map(bytes)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KiB",
    "4.2 GiB",
    "5.0 TiB",
  ]);
});
