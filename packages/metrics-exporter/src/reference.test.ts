import { expect, test } from "vitest";
import { metricsReference } from "./reference.ts";

test("docs/metrics.md is the catalogue; after a change: vitest -u", async () => {
  await expect(metricsReference()).toMatchFileSnapshot("../../../docs/metrics.md");
});
