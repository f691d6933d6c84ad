import { expect, it } from "vitest";
import { json, list } from "./json.ts";

it("writes 64-bit integers as numbers while they are exact", () => {
  expect(json({ step: 7n, huge: 2n ** 60n })).toBe(
    '{\n  "step": 7,\n  "huge": "1152921504606846976"\n}\n',
  );
});

it("wraps lists as kubectl does", () => {
  expect(JSON.stringify(list([1]))).toBe('{"kind":"List","items":[1]}');
});
