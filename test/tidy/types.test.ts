import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "./tree.ts";

// `tsc -b` builds what is shipped; tests are run by stripping their types, which checks none of them.
const CHECK_MS_MAX = 120_000;

it("tests, simulator and benches type-check against the sources", { timeout: CHECK_MS_MAX }, () => {
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const checked = spawnSync(process.execPath, [tsc, "-p", join(ROOT, "tsconfig.test.json")], {
    cwd: ROOT,
    encoding: "utf8",
  });
  expect(checked.stdout.split("\n").filter((line) => line !== "")).toEqual([]);
  expect(checked.stderr).toBe("");
});
