/** Writes test/contract/vectors/*.json. Run: `npx node test/contract/make-planner-vectors.ts`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { plannerVectors } from "./planner-vectors.ts";

const folder = new URL("./vectors/", import.meta.url);
mkdirSync(folder, { recursive: true });
for (const [name, value] of Object.entries(plannerVectors())) {
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(value, null, 1)}\n`);
}
