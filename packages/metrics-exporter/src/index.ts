export * from "./board.ts";
export * from "./build.ts";
export * from "./config.ts";
export * from "./samples.ts";
