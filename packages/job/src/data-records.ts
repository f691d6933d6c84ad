/** One reader for each shape of a row: keys and values as users write them → the canonical record. */
import {
  type ChatMessage,
  isPlainObject,
  type Note,
  nameOfTool,
  type PlainObject,
  readMessages,
  readTools,
} from "./data-messages.ts";
import { DATA_TEXTS } from "./data-problems.ts";
import type { RecordMask, TrainableShape } from "./data-shapes.ts";

/** What a record holds of a row, before its place is added. */
interface Parts {
  readonly kind: "chat" | "prompt" | "text";
  readonly messages?: readonly ChatMessage[];
  readonly tools?: readonly PlainObject[];
  /** Named parts, for text templates: instruction, input, output; prompt, completion; text. */
  readonly fields?: Readonly<Record<string, string>>;
}

/**
 * One example in the one form that rendering knows: kind `chat` has messages, `prompt` the fields prompt and
 * completion, `text` the field text. `line` and `example` (from 1) name the original row for ever.
 */
export interface CanonicalRecord {
  readonly kind: Parts["kind"];
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly PlainObject[];
  readonly fields: Readonly<Record<string, string>>;
  /** What `auto` means for this shape. */
  readonly mask: RecordMask;
  readonly line: number;
  readonly example: number;
}

/** Where a row stands and where its problems go. */
export interface RowPlace {
  readonly line: number;
  readonly example: number;
  readonly note: Note;
}

/** null after noting what is wrong. `value` has every key of its shape. */
export function readRecord(
  shape: TrainableShape,
  value: PlainObject,
  place: RowPlace,
  options: { readonly mask: RecordMask; readonly isMlx: boolean },
): CanonicalRecord | null {
  const parts = READERS[shape](value, place);
  if (!parts) return null;
  const whole = options.isMlx ? asTurns(parts) : parts;
  return {
    kind: whole.kind,
    messages: whole.messages ?? [],
    tools: whole.tools ?? [],
    fields: whole.fields ?? {},
    mask: options.mask,
    line: place.line,
    example: place.example,
  };
}

/** MLX turns a prompt and its completion into a user and an assistant turn. */
function asTurns(parts: Parts): Parts {
  if (parts.kind !== "prompt") return parts;
  const { prompt = "", completion = "" } = parts.fields ?? {};
  return {
    kind: "chat",
    fields: parts.fields ?? {},
    messages: turnsOf("", [[prompt, completion]]),
  };
}

type RowReader = (value: PlainObject, place: RowPlace) => Parts | null;

const readChat: RowReader = (value, { example, note }) => {
  const raw = value["messages"];
  if (!Array.isArray(raw) || raw.length === 0) {
    note("missing_messages_list", DATA_TEXTS.missingKey(example, "messages"));
    return null;
  }
  const declared = value["tools"] ?? value["functions"] ?? null;
  const tools = declared === null ? [] : readTools(example, declared, note);
  const names = declared === null ? null : new Set(tools.flatMap((tool) => nameOfTool(tool) ?? []));
  const messages = readMessages(example, raw, names, note);
  if (messages.length === raw.length && !messages.some(({ weight }) => weight === 1)) {
    note("example_missing_assistant_message", DATA_TEXTS.noAssistant(example));
  }
  return { kind: "chat", messages, tools };
};

/** Named parts as text: `required` ones are not empty, `optional` ones may be absent. */
function readTexts(
  value: PlainObject,
  keys: { readonly required: readonly string[]; readonly optional: readonly string[] },
  { example, note }: RowPlace,
): Record<string, string> | null {
  const found: Record<string, string> = {};
  for (const key of [...keys.required, ...keys.optional]) {
    const isRequired = keys.required.includes(key);
    const given = value[key];
    if ((given === null || given === undefined) && !isRequired) continue;
    if (typeof given !== "string") {
      note("data_type", DATA_TEXTS.notString(example, key));
      return null;
    }
    if (isRequired && given.trim() === "") {
      note("missing_content", DATA_TEXTS.noContentIn(example, key));
      return null;
    }
    found[key] = given;
  }
  return found;
}

const readCompletion: RowReader = (value, place) => {
  const fields = readTexts(value, { required: ["completion"], optional: ["prompt"] }, place);
  return fields && { kind: "prompt", fields: { prompt: "", ...fields } };
};

const readText: RowReader = (value, place) => {
  const fields = readTexts(value, { required: ["text"], optional: [] }, place);
  return fields && { kind: "text", fields };
};

const readTable: RowReader = (value, place) => {
  const keys = { required: ["input", "output"], optional: ["system"] };
  const fields = readTexts(value, keys, place);
  if (!fields) return null;
  const { input = "", output = "", system = "" } = fields;
  return {
    kind: "chat",
    messages: turnsOf(system, [[input, output]]),
    fields: { ...fields, instruction: input, input: "", output },
  };
};

const readAlpaca: RowReader = (value, place) => {
  const keys = { required: ["instruction", "output"], optional: ["input", "system"] };
  const fields = readTexts(value, keys, place);
  if (!fields) return null;
  const history = readHistory(value["history"]);
  if (!history) {
    place.note("data_type", DATA_TEXTS.badHistory(place.example));
    return null;
  }
  const { instruction = "", input = "", output = "", system = "" } = fields;
  const asked = input === "" ? instruction : `${instruction}\n${input}`;
  return {
    kind: "chat",
    messages: turnsOf(system, [...history, [asked, output]]),
    // A text template has no place for earlier turns.
    fields: history.length > 0 ? {} : { ...fields, input },
  };
};

type Pair = readonly [question: string, answer: string];

function readHistory(value: unknown): Pair[] | null {
  // Absent and empty histories come as null, "" and [].
  if (value === undefined || value === null || value === "" || value === false) return [];
  if (!Array.isArray(value)) return null;
  const pairs: Pair[] = [];
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return null;
    const [question, answer] = pair as unknown[];
    if (typeof question !== "string" || typeof answer !== "string") return null;
    pairs.push([question, answer]);
  }
  return pairs;
}

function turnsOf(system: string, pairs: readonly Pair[]): ChatMessage[] {
  const messages: ChatMessage[] = system === "" ? [] : [{ role: "system", content: system }];
  for (const [question, answer] of pairs) {
    messages.push({ role: "user", content: question });
    messages.push({ role: "assistant", content: answer, weight: 1 });
  }
  return messages;
}

const ASKING = ["human", "observation"];
const ANSWERING = ["gpt", "function_call"];

const readShareGpt: RowReader = (value, place) => {
  const { example, note } = place;
  const turns: unknown = value["conversations"];
  if (!Array.isArray(turns) || turns.length === 0) {
    note("missing_messages_list", DATA_TEXTS.missingKey(example, "conversations"));
    return null;
  }
  const messages: ChatMessage[] = [];
  if (typeof value["system"] === "string" && value["system"] !== "") {
    messages.push({ role: "system", content: value["system"] });
  }
  let asks = true;
  for (const [index, turn] of (turns as unknown[]).entries()) {
    const { from, text } = turnOf(turn);
    if (index === 0 && from === "system" && text !== null) {
      messages.push({ role: "system", content: text });
      continue;
    }
    const message = readTurn({ from, text, asks, t: index + 1 }, place);
    if (!message) return null;
    messages.push(message);
    asks = !asks;
  }
  if (!asks || messages.length === 0) {
    note("broken_alternation", DATA_TEXTS.unansweredTurn(example, turns.length));
    return null;
  }
  return { kind: "chat", messages };
};

function turnOf(turn: unknown): { readonly from: string; readonly text: string | null } {
  if (!isPlainObject(turn)) return { from: "None", text: null };
  const { from, value } = turn as { from?: unknown; value?: unknown };
  return {
    from: typeof from === "string" ? from : "None",
    text: typeof value === "string" ? value : null,
  };
}

interface Turn {
  readonly from: string;
  readonly text: string | null;
  /** Whether it is the turn of human or observation. */
  readonly asks: boolean;
  readonly t: number;
}

function readTurn({ from, text, asks, t }: Turn, { example, note }: RowPlace): ChatMessage | null {
  const expected = asks ? ASKING : ANSWERING;
  if (!expected.includes(from)) {
    note("broken_alternation", DATA_TEXTS.alternation(example, t, expected.join(" or "), from));
    return null;
  }
  if (text === null || text === "") {
    note("missing_content", DATA_TEXTS.noContentInTurn(example, t));
    return null;
  }
  if (from === "human") return { role: "user", content: text };
  // ShareGPT has no call ids; the name keeps the message complete for templates that print it.
  if (from === "observation") return { role: "tool", name: "observation", content: text };
  if (from === "gpt") return { role: "assistant", content: text, weight: 1 };
  const call = readTurnCall(text);
  if (!call) note("invalid_tool_call", DATA_TEXTS.badTurnArguments(example, t));
  return call;
}

function readTurnCall(text: string): ChatMessage | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isPlainObject(value) || !Object.hasOwn(value, "arguments")) return null;
  const { name } = value as { name?: unknown };
  if (typeof name !== "string") return null;
  const called = { name, arguments: value["arguments"] };
  return {
    role: "assistant",
    content: "",
    tool_calls: [{ type: "function", function: called }],
    weight: 1,
  };
}

const READERS: Readonly<Record<TrainableShape, RowReader>> = {
  chat: readChat,
  sharegpt: readShareGpt,
  completions: readCompletion,
  alpaca: readAlpaca,
  text: readText,
  tabular: readTable,
};
