export * from "./activations.ts";
export * from "./adapter.ts";
export {
  heldBlocks,
  type MapRank,
  type MapRequest,
  mapBlocks,
  mapCopies,
  ownedBlocks,
  type PreviousMap,
} from "./block-map.ts";
export * from "./calibrate.ts";
export { explainPlan, MEMORY_CATEGORIES } from "./explain.ts";
export * from "./flat.ts";
export { contextBytesOf, type DeviceCard, GPU_CARDS } from "./gpu-card.ts";
export * from "./lanes.ts";
export * from "./memory.ts";
export * from "./model-card.ts";
export * from "./order.ts";
export * from "./parallel-plan.ts";
export { OPTIMIZER_IMPLEMENTATION, planJob } from "./plan.ts";
export { copiesIn, STAGES_EXECUTED } from "./plan-candidates.ts";
export * from "./plan-request.ts";
export { ROW_TOKENS_ASSUMED } from "./plan-setting.ts";
export { REFERENCE_CARDS, REFERENCE_CONFIGS } from "./reference-cards.ts";
export * from "./save-interval.ts";
export * from "./schedule.ts";
export * from "./snapshots.ts";
export * from "./speed.ts";
export * from "./states.ts";
export * from "./transfer.ts";
export * from "./wire.ts";
