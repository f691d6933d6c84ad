import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { directivesFor } from "../../packages/control-plane/src/core/directives.ts";
import { decide } from "../../packages/control-plane/src/core/lifecycle.ts";
import { silenceAll } from "../../packages/control-plane/src/core/members.ts";
import type { Core } from "./plane.ts";
import { scenarioOf } from "./scenario.ts";
import { type Ending, World } from "./world.ts";

const SEEDS = Number(process.env["SHARDWRIGHT_SIM_SEEDS"] ?? 2_000);
const FIRST = Number(process.env["SHARDWRIGHT_SIM_FIRST"] ?? 0);
const CORE: Core = { decide, directivesFor, silenceAll };
// Thousands of whole lives on a shared core; each takes a few milliseconds.
const LIMIT_MS = 300_000;
const FAILURES_SHOWN = 20;

function head(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

describe("the closed loop", () => {
  it(
    `keeps every invariant over ${SEEDS} seeds`,
    () => {
      const failures: string[] = [];
      const endings: Ending[] = [];
      for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
        try {
          endings.push(new World(scenarioOf(seed), CORE).run());
        } catch (reason) {
          const said = reason instanceof Error ? reason.message : String(reason);
          failures.push(`seed ${seed} at commit ${head()}: invariant ${said}`);
          if (failures.length >= FAILURES_SHOWN) break;
        }
      }
      const count = (phase: string): number => endings.filter((one) => one.phase === phase).length;
      const sum = (of: (one: Ending) => number): number =>
        endings.reduce((all, one) => all + of(one), 0);
      process.stdout.write(
        `${endings.length} lives: ${count("complete")} complete, ${count("failed")} failed, ${count("cancelled")} cancelled; ${sum((one) => one.generations)} generations, ${sum((one) => one.restores)} restores, ${sum((one) => one.snapshotStarts)} starts from snapshots\n`,
      );
      expect(failures).toEqual([]);
      // A world in which nothing goes wrong, or nothing goes right, proves nothing.
      if (SEEDS >= 500) {
        expect(count("complete")).toBeGreaterThan(SEEDS / 2);
        expect(count("failed")).toBeGreaterThan(0);
        expect(count("cancelled")).toBeGreaterThan(0);
        expect(sum((one) => one.restores)).toBeGreaterThan(0);
        expect(sum((one) => one.snapshotStarts)).toBeGreaterThan(0);
      }
    },
    LIMIT_MS,
  );
});
