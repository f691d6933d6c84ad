export * from "./gen/shardwright/v1/agent_service.ts";
export * from "./gen/shardwright/v1/checkpoint.ts";
export * from "./gen/shardwright/v1/checkpoint_service.ts";
export * from "./gen/shardwright/v1/event.ts";
export * from "./gen/shardwright/v1/job.ts";
export * from "./gen/shardwright/v1/job_service.ts";
export * from "./gen/shardwright/v1/plan.ts";
export * from "./gen/shardwright/v1/rank_link.ts";
