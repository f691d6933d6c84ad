export * from "./faults.ts";
export * from "./spec.ts";
