import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { plannerVectors } from "./planner-vectors.ts";

describe("golden vectors of the planner", () => {
  // A difference means that the planner's arithmetic changed under jobs that already run with the old one.
  it.each(Object.entries(plannerVectors()))(
    "%s.json is what the planner computes",
    (name, value) => {
      const file = new URL(`./vectors/${name}.json`, import.meta.url);
      const committed: unknown = JSON.parse(readFileSync(file, "utf8"));
      expect(JSON.parse(JSON.stringify(value))).toEqual(committed);
    },
  );
});
