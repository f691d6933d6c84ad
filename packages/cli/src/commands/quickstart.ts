import type { Run } from "../invocation.ts";
import { quickstart } from "../quickstart/run.ts";

/** `shardctl quickstart [--fresh]`: the README's main job. */
export const run: Run = quickstart;
