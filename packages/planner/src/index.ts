export * from "./adapter.ts";
export {
  heldBlocks,
  type MapRank,
  type MapRequest,
  mapBlocks,
  ownedBlocks,
  type PreviousMap,
} from "./block-map.ts";
export * from "./calibrate.ts";
export * from "./flat.ts";
export * from "./lanes.ts";
export * from "./model-card.ts";
export * from "./order.ts";
export type { PackEntry, PackHeader } from "./pack-extents.ts";
export * from "./parallel-plan.ts";
export * from "./plan-request.ts";
export * from "./read-plan.ts";
export * from "./schedule.ts";
export * from "./transfer.ts";
