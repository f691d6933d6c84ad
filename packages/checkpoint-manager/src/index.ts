export {
  buildCheckpointManager,
  type CheckpointManager,
  type CheckpointManagerConfig,
} from "./build.ts";
export { crc32c } from "./core/crc32c.ts";
export { hashCommit } from "./hash.ts";
export type { CheckpointStore, Created } from "./ports.ts";
export { openCommit } from "./reader.ts";
export { memoryStore } from "./registers/memory.ts";
export { posixStore } from "./registers/posix.ts";
export { type VerifyLevel, verifyCommit } from "./verify.ts";
