export * from "./checkpoint.ts";
export * from "./faults.ts";
export * from "./ids.ts";
export * from "./limits.ts";
export * from "./phase.ts";
export * from "./spec.ts";
export * from "./units.ts";
