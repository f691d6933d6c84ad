/** Which shape a row has. The first row decides for the file; all others must have the same. */
import type { DataFormat } from "./spec.ts";

/** Shapes that are read into records. */
export const TRAINABLE_SHAPES = [
  "chat",
  "completions",
  "alpaca",
  "sharegpt",
  "text",
  "tabular",
] as const;
export type TrainableShape = (typeof TRAINABLE_SHAPES)[number];
/** Shapes that are recognised and refused by name. */
export type RefusedShape = "preference" | "kto" | "stepwise" | "classification" | "embedding";
export type Shape = TrainableShape | RefusedShape;

/** Names of shapes in messages. */
export const SHAPE_NAMES: Readonly<Record<Shape, string>> = {
  chat: "chat",
  completions: "prompt/completion",
  alpaca: "Alpaca",
  sharegpt: "ShareGPT",
  text: "text",
  tabular: "input/output",
  preference: "preference",
  kto: "unpaired preference",
  stepwise: "stepwise",
  classification: "classification",
  embedding: "embedding",
};

/** Keys that every row of a shape has. */
export const SHAPE_KEYS: Readonly<Record<TrainableShape, readonly string[]>> = {
  chat: ["messages"],
  sharegpt: ["conversations"],
  completions: ["prompt", "completion"],
  alpaca: ["instruction", "output"],
  text: ["text"],
  tabular: ["input", "output"],
};

/** Keys that a shape knows; others are ignored with a warning. A table may have any columns. */
export const KNOWN_KEYS: Readonly<Record<TrainableShape, readonly string[] | null>> = {
  chat: ["messages", "tools", "functions", "parallel_tool_calls"],
  sharegpt: ["conversations", "system", "tools"],
  alpaca: ["instruction", "input", "output", "system", "history"],
  completions: ["prompt", "completion"],
  text: ["text"],
  tabular: null,
};

/** Which tokens of a record are learned. */
export type RecordMask = "assistant" | "completion" | "all";

/** What a mask policy of `auto` means. */
export const DEFAULT_MASKS: Readonly<Record<TrainableShape, RecordMask>> = {
  chat: "assistant",
  sharegpt: "assistant",
  completions: "completion",
  alpaca: "completion",
  tabular: "completion",
  text: "all",
};

/** What the place or the name of a file says of its rows, before a row is seen. */
export type Implied = "mlx" | "tabular" | null;

/** False for shapes that are recognised only to be refused. */
export function isTrainable(shape: Shape): shape is TrainableShape {
  return (TRAINABLE_SHAPES as readonly string[]).includes(shape);
}

/** The shape that `data.format` asks for; null = look at the first row. */
export function shapeAskedFor(format: DataFormat): Shape | null {
  return format === "auto" || format === "mlx" || format === "tabular" ? null : format;
}

/** Shapes that keys of a row match. More than one = ambiguous; none = unknown. */
export function detectShape(keys: ReadonlySet<string>, implied: Implied, hasMap: boolean): Shape[] {
  const has = (...names: string[]): boolean => names.every((name) => keys.has(name));
  const refused = refusedShape(has);
  if (refused) return [refused];
  if (implied === "mlx") {
    return matching(["completions", "chat", "text"], has).slice(0, 1);
  }
  const found = matching(["chat", "sharegpt", "completions", "alpaca"], has);
  if (found.length > 0) return found;
  if (has("text")) return ["text"];
  return has("input", "output") && (hasMap || implied === "tabular") ? ["tabular"] : [];
}

type Has = (...names: string[]) => boolean;

function matching(shapes: readonly TrainableShape[], has: Has): TrainableShape[] {
  return shapes.filter((shape) => has(...SHAPE_KEYS[shape]));
}

function refusedShape(has: Has): RefusedShape | null {
  if (has("input", "preferred_output") || has("input", "preferred_completion")) return "preference";
  if (has("chosen", "rejected")) return "preference";
  if (has("prompt", "completion", "label")) return "kto";
  return has("prompt", "completions", "labels") ? "stepwise" : null;
}
