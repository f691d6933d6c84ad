/** Chat messages as users write them → messages a chat template takes; every problem named by message. */
import { DATA_TEXTS, type DataProblemCode, ROLES } from "./data-problems.ts";
import { TOOLS_MAX } from "./limits.ts";

/** A call of a tool by the assistant. */
export interface ToolCall {
  readonly type: "function";
  /** Arguments parsed, as chat templates expect them. */
  readonly function: { readonly name: string; readonly arguments: unknown };
  readonly id?: string;
}

/** One turn as templates take it. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
  readonly name?: string;
  readonly tool_call_id?: string;
  readonly tool_calls?: readonly ToolCall[];
  /** Assistant only: 0 = not learned. */
  readonly weight?: 0 | 1;
}

/** A decoded JSON object. */
export type PlainObject = Readonly<Record<string, unknown>>;
/** Takes an error of the example at hand. */
export type Note = (code: DataProblemCode, message: string) => void;

/** True for an object that is no list and not null. */
export function isPlainObject(value: unknown): value is PlainObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const KEYS: readonly string[] = [
  "role",
  "content",
  "name",
  "function_call",
  "tool_calls",
  "tool_call_id",
  "weight",
  "refusal",
  "audio",
];

/** Where a message stands: example and message count from 1. */
interface Where {
  readonly x: number;
  readonly m: number;
  readonly note: Note;
}

/** `toolNames`: names that may be called; null where the row declares no tools. */
export function readMessages(
  x: number,
  raw: readonly unknown[],
  toolNames: ReadonlySet<string> | null,
  note: Note,
): ChatMessage[] {
  const messages: ChatMessage[] = [];
  const calls = new Set<string>();
  for (const [index, item] of raw.entries()) {
    const where: Where = { x, m: index + 1, note };
    const message = readMessage(item, where);
    if (!message) continue;
    checkCalls(message, { calls, toolNames, where });
    messages.push(message);
  }
  return messages;
}

interface Called {
  /** Ids of the calls before this message; those of the message are added. */
  readonly calls: Set<string>;
  readonly toolNames: ReadonlySet<string> | null;
  readonly where: Where;
}

/** A tool's answer belongs to an earlier call, and only declared tools are called. */
function checkCalls(message: ChatMessage, { calls, toolNames, where }: Called): void {
  const { x, m, note } = where;
  const isUnmatched = message.role === "tool" && !calls.has(message.tool_call_id ?? "");
  if (isUnmatched && message.name === undefined) {
    const id = message.tool_call_id ?? "None";
    note("invalid_tool_call", DATA_TEXTS.unmatchedCall(x, m, id));
  }
  for (const call of message.tool_calls ?? []) {
    if (call.id !== undefined) calls.add(call.id);
    if (toolNames && !toolNames.has(call.function.name)) {
      note("invalid_tool_call", DATA_TEXTS.unknownTool(x, m, call.function.name));
    }
  }
}

/** Whether any message holds a picture or sound; a text-only trainer leaves the whole row out. */
export function hasImage(raw: readonly unknown[]): boolean {
  return raw.some(
    (item) =>
      isPlainObject(item) &&
      Array.isArray(item["content"]) &&
      item["content"].some(
        (part: unknown) =>
          isPlainObject(part) && (part["type"] === "image_url" || part["type"] === "input_audio"),
      ),
  );
}

/** `tools` of a row, or the older `functions` wrapped as tools. */
export function readTools(x: number, value: unknown, note: Note): PlainObject[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > TOOLS_MAX) {
    note("invalid_tool_call", DATA_TEXTS.badTools(x));
    return [];
  }
  const tools: PlainObject[] = [];
  for (const item of value as unknown[]) {
    const tool =
      isPlainObject(item) && Object.hasOwn(item, "function")
        ? item
        : { type: "function", function: item };
    if (nameOfTool(tool) === null) note("invalid_tool_call", DATA_TEXTS.namelessTool(x));
    else tools.push(tool);
  }
  return tools;
}

/** The name of a declared tool; null when it has none. */
export function nameOfTool(tool: PlainObject): string | null {
  const called = tool["function"];
  return isPlainObject(called) && typeof called["name"] === "string" ? called["name"] : null;
}

function readMessage(item: unknown, where: Where): ChatMessage | null {
  const { x, m, note } = where;
  if (!isPlainObject(item)) {
    note("data_type", DATA_TEXTS.messageNotDictionary(x, m));
    return null;
  }
  if (!Object.hasOwn(item, "role")) {
    note("message_missing_key", DATA_TEXTS.missingRole(x, m));
    return null;
  }
  for (const key of Object.keys(item)) {
    if (!KEYS.includes(key)) note("message_unrecognized_key", DATA_TEXTS.extraKey(x, key));
  }
  const role = roleOf(item["role"]);
  if (role === null) {
    note("unrecognized_role", DATA_TEXTS.badRole(x, m, textOf(item["role"])));
    return null;
  }
  const content = readContent(item, where);
  if (content === null) return null;
  const calls = readCalls(item, where);
  const weight = readWeight(item, where);
  return {
    role,
    content,
    ...(typeof item["name"] === "string" ? { name: item["name"] } : {}),
    ...(typeof item["tool_call_id"] === "string" ? { tool_call_id: item["tool_call_id"] } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
    ...(role === "assistant" ? { weight } : {}),
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function roleOf(value: unknown): ChatMessage["role"] | null {
  const role = ROLES.find((known) => known === value);
  if (role === undefined) return null;
  if (role === "developer") return "system";
  return role === "function" ? "tool" : role;
}

/** Empty is no content: `""`, `[]`, `null`. */
function isFilled(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

/** Text parts are joined; null after noting what is wrong. */
function readContent(item: PlainObject, { x, m, note }: Where): string | null {
  const content = item["content"];
  const calls =
    item["role"] === "assistant" &&
    (isFilled(item["tool_calls"]) || isFilled(item["function_call"]));
  if ((content === null || content === undefined) && calls) return "";
  if (!Object.hasOwn(item, "content")) {
    note("message_missing_key", DATA_TEXTS.missingContentKey(x, m));
    return null;
  }
  if (item["role"] === "assistant" && Array.isArray(content) && content.some(isImagePart)) {
    note("invalid_image", DATA_TEXTS.assistantImage(x, m));
    return null;
  }
  const text = joined(content);
  if (text !== null && (text !== "" || calls)) return text;
  note("missing_content", DATA_TEXTS.noContent(x, m));
  return null;
}

function isImagePart(part: unknown): boolean {
  return isPlainObject(part) && part["type"] === "image_url";
}

function joined(content: unknown): string | null {
  if (typeof content === "string") return content;
  if (!Array.isArray(content) || content.length === 0) return null;
  let text = "";
  for (const part of content as unknown[]) {
    if (!isPlainObject(part) || part["type"] !== "text" || typeof part["text"] !== "string") {
      return null;
    }
    text += part["text"];
  }
  return text;
}

function readCalls(item: PlainObject, where: Where): ToolCall[] {
  const written: unknown = isFilled(item["function_call"])
    ? [{ type: "function", function: item["function_call"] }]
    : (item["tool_calls"] ?? []);
  const calls: ToolCall[] = [];
  for (const call of Array.isArray(written) ? (written as unknown[]) : [null]) {
    const read = readCall(call, where);
    if (read) calls.push(read);
  }
  return calls;
}

function readCall(call: unknown, { x, m, note }: Where): ToolCall | null {
  const called = isPlainObject(call) ? call["function"] : null;
  if (!isPlainObject(called) || typeof called["name"] !== "string") {
    note("invalid_tool_call", DATA_TEXTS.namelessCall(x, m));
    return null;
  }
  const name = called["name"];
  const reading = readArguments(called["arguments"]);
  if (!reading) {
    note("invalid_tool_call", DATA_TEXTS.badArguments(x, m, name));
    return null;
  }
  const read = { type: "function", function: { name, arguments: reading.value } } as const;
  const id = isPlainObject(call) ? call["id"] : undefined;
  return typeof id === "string" ? { ...read, id } : read;
}

function readArguments(value: unknown): { readonly value: unknown } | null {
  if (typeof value !== "string") return null;
  try {
    return { value: JSON.parse(value) as unknown };
  } catch {
    return null;
  }
}

function readWeight(item: PlainObject, { x, m, note }: Where): 0 | 1 {
  if (!Object.hasOwn(item, "weight")) return 1;
  const weight = item["weight"];
  if (item["role"] === "assistant" && (weight === 0 || weight === 1)) return weight;
  note("invalid_weight", DATA_TEXTS.badWeight(x, m));
  return 1;
}
