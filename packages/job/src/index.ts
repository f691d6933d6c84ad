export * from "./accounts.ts";
export * from "./canonical-json.ts";
export * from "./checkpoint.ts";
export type { ChatMessage, ToolCall } from "./data-messages.ts";
export * from "./data-problems.ts";
export type { CanonicalRecord } from "./data-records.ts";
export { containerOf, type DataContainer } from "./data-rows.ts";
export { SHAPE_NAMES, type Shape } from "./data-shapes.ts";
export type { DataStatistics, Spread } from "./data-survey.ts";
export * from "./dataset.ts";
export * from "./defaults.ts";
export * from "./faults.ts";
export * from "./ids.ts";
export * from "./job-object.ts";
export * from "./limits.ts";
export { nearestName } from "./nearest.ts";
export * from "./parse.ts";
export * from "./phase.ts";
export { checkPlainValue } from "./plain-value.ts";
export { PRESETS } from "./presets.ts";
export { jobOfSource, pathOfSource, problemOfSource } from "./sources.ts";
export * from "./spec.ts";
export * from "./units.ts";
export {
  count,
  jobFromWire,
  jobToWire,
  planFromWire,
  planToWire,
  recipeFromWire,
  recipeToWire,
  specToJson,
} from "./wire.ts";
