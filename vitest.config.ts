import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("./packages/", import.meta.url));

export default defineConfig({
  // Tests run on the sources: no build first.
  resolve: {
    alias: [
      { find: /^@shardwright\/([a-z-]+)$/, replacement: `${packages}$1/src/index.ts` },
      { find: /^@shardwright\/([a-z-]+)\/(.+)$/, replacement: `${packages}$1/src/$2.ts` },
    ],
  },
  test: {
    // A machine under load is late, not wrong.
    testTimeout: 30_000,
    expect: { poll: { timeout: 20_000 } },
    include: [
      "packages/*/src/**/*.test.ts",
      "test/{tidy,sim,model,scenarios,contract}/**/*.test.ts",
    ],
    pool: "threads",
    isolate: false,
    reporters: ["default", "./test/support/closing-line.ts"],
  },
});
