import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL("../../", import.meta.url));

// Real processes: one file at a time, so that two jobs never share two cores.
export default defineConfig({
  root,
  test: {
    include: ["test/{e2e,chaos}/**/*.test.ts"],
    pool: "forks",
    fileParallelism: false,
    // Tests that say they are concurrent: the chaos suite runs two schedules side by side.
    maxConcurrency: 2,
    testTimeout: 300_000,
    expect: { poll: { timeout: 20_000 } },
    hookTimeout: 120_000,
    reporters: ["default", "./test/support/closing-line.ts"],
  },
});
