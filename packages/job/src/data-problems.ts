/**
 * Codes and texts of everything that can be wrong with training data: one table, used by the API, the CLI and
 * (through the golden vectors of test/contract) the trainer. X, M, T in comments: example, message, turn.
 */
import { EXAMPLES_MIN, TOOLS_MAX } from "./limits.ts";

/** Errors stop a job, warnings are told. */
export type Severity = "error" | "warning";

/** One thing that is wrong with a file of training data. */
export interface DataProblem {
  readonly severity: Severity;
  readonly code: DataProblemCode;
  /** 1-based line of the file; null where the whole file is meant. */
  readonly line: number | null;
  /** 1-based number of the example; null where it is not known. */
  readonly example: number | null;
  readonly message: string;
  /** What to do. */
  readonly hint: string;
}

/** Code → what to do about it. */
export const DATA_HINTS = {
  invalid_jsonl: "write one JSON object per line",
  invalid_encoding: "save the file as UTF-8",
  line_too_long: "split the example",
  invalid_columns: "give every row the columns of the header; quote cells that hold the delimiter",
  missing_column: "name a column of the file in data.map",
  invalid_n_examples: "add examples, or set data.allowSmall",
  missing_messages_list: "give every example the same keys as the first one",
  message_missing_key: "give every message a role and content",
  message_unrecognized_key: "remove the key",
  unrecognized_role: "use one of the roles named",
  missing_content: "give it text, or leave the example out",
  data_type: "write it as text",
  example_missing_assistant_message: "end the example with the answer to learn",
  invalid_weight: "use 0 or 1, on assistant messages only",
  invalid_token: "remove the token; the template writes it",
  invalid_tool_call: "declare the tool in tools and write its arguments as a JSON object in text",
  mixed_format: "put rows of different shapes into different files",
  ambiguous_format: "set data.format",
  broken_alternation: "let human or observation alternate with gpt or function_call",
  invalid_image: "leave images out; the trainer reads text",
  unknown_format: "set data.format or data.map, or rename the keys",
  unsupported_format: "use chat, prompt/completion, Alpaca, ShareGPT, tables or text",
  blank_line: "remove the line",
  json_array: "nothing; JSON lines are read with less memory",
  ignored_key: "remove the key if it was meant to be learned",
  image_skipped: "nothing; text-only training leaves such rows out",
  missing_system: "nothing, if it is meant",
  missing_user: "nothing, if it is meant",
  duplicate: "remove the duplicate",
  train_valid_overlap: "remove it from one of the files",
  sensitive_content: "remove the secret and revoke it",
} as const satisfies Record<string, string>;
export type DataProblemCode = keyof typeof DATA_HINTS;

/** Roles that a chat message may have. */
export const ROLES = ["system", "developer", "user", "assistant", "tool", "function"] as const;

/** Text of a problem from its facts. Hosted services use the same words where they have the same check. */
export const DATA_TEXTS = {
  notDictionary: (line: number, start: string) =>
    `Expected file to have JSONL format, where every line is a JSON dictionary. Line ${line} is not a dictionary (HINT: line starts with: "${start}…").`,
  elementNotDictionary: (x: number, line: number) =>
    `Example ${x} is not a dictionary (line ${line}).`,
  cannotParse: (x: number, why: string, line: number) =>
    `Example ${x} cannot be parsed. Error: line contains invalid json: ${why} (line ${line})`,
  encoding: (line: number, column: number) =>
    `Line ${line}, column ${column} is not valid UTF-8 text.`,
  tooLong: (line: number, max: number) => `Line ${line} is longer than ${max} characters.`,
  columnTwice: (line: number) => `Line ${line}: a column name comes twice.`,
  columnCount: (line: number, cells: number, columns: number) =>
    `Line ${line} has ${cells} fields, the header has ${columns}.`,
  csv: (line: number, why: string) => `Line ${line}: ${why}.`,
  missingColumn: (line: number, column: string, keys: string) =>
    `Line ${line} has no column '${column}', which data.map names; it has [${keys}].`,
  tooFew: (n: number) =>
    `Training file has ${n} example(s), but must have at least ${EXAMPLES_MIN} examples`,
  missingKey: (x: number, key: string) => `Example ${x} is missing key '${key}'.`,
  missingRole: (x: number, m: number) =>
    `Example ${x}, message ${m} Discriminator 'role' is missing in value`,
  messageNotDictionary: (x: number, m: number) => `Example ${x}, message ${m} is not a dictionary.`,
  missingContentKey: (x: number, m: number) =>
    `Example ${x}, message ${m} is missing key 'content'.`,
  extraKey: (x: number, key: string) => `Example ${x} contains an extra "${key}".`,
  badRole: (x: number, m: number, role: string) =>
    `Example ${x}, message ${m} has role '${role}'; expected one of ${ROLES.join(", ")}.`,
  noContent: (x: number, m: number) => `Example ${x}, message ${m} has no content.`,
  noContentIn: (x: number, key: string) => `Example ${x} has no content in '${key}'.`,
  noContentInTurn: (x: number, t: number) => `Example ${x}, turn ${t} has no content.`,
  notString: (x: number, key: string) => `Example ${x}: '${key}' must be a string.`,
  badHistory: (x: number) => `Example ${x}: 'history' must be a list of [question, answer].`,
  noAssistant: (x: number) => `Example ${x} has no assistant message to learn from.`,
  badWeight: (x: number, m: number) =>
    `Example ${x}, message ${m}: weight must be 0 or 1 and is allowed on assistant messages only.`,
  invalidToken: (x: number, token: string) =>
    `Example ${x} message contains an invalid token: ${token}.`,
  badTools: (x: number) => `Example ${x}: tools must be a list of 1 to ${TOOLS_MAX} functions.`,
  namelessTool: (x: number) => `Example ${x}: a tool has no name.`,
  namelessCall: (x: number, m: number) =>
    `Example ${x}, message ${m}: a tool call has no function name.`,
  unknownTool: (x: number, m: number, name: string) =>
    `Example ${x}, message ${m}: tool call '${name}' is not in tools.`,
  badArguments: (x: number, m: number, name: string) =>
    `Example ${x}, message ${m}: tool call '${name}' arguments are not valid JSON.`,
  badTurnArguments: (x: number, t: number) =>
    `Example ${x}, turn ${t}: arguments are not valid JSON.`,
  unmatchedCall: (x: number, m: number, id: string) =>
    `Example ${x}, message ${m}: tool_call_id '${id}' matches no earlier call.`,
  mixed: (first: string, line: number, other: string) =>
    `The first row is ${first}, line ${line} is ${other}.`,
  ambiguous: (line: number, shapes: string) => `Line ${line} matches ${shapes}; set data.format.`,
  alternation: (x: number, t: number, expected: string, got: string) =>
    `Example ${x}, turn ${t}: expected ${expected}, got ${got}.`,
  unansweredTurn: (x: number, t: number) =>
    `Example ${x}, turn ${t}: expected gpt or function_call at the end.`,
  assistantImage: (x: number, m: number) =>
    `Example ${x}, message ${m}: images are not allowed in assistant messages.`,
  unknownShape: (line: number, keys: string) =>
    `Line ${line} has keys [${keys}]; no known shape matches.`,
  mapWanted: " Set data.map, for example {input: COLUMN, output: COLUMN}.",
  unsupported: (shape: string) =>
    `${shape.charAt(0).toUpperCase()}${shape.slice(1)} data is not supported yet.`,
  blankLine: (line: number) => `Line ${line} is blank and was skipped.`,
  jsonArray: "The file is one JSON array, not JSON lines; it is read as such.",
  ignoredKey: (key: string) => `Key '${key}' is ignored.`,
  imagesSkipped: (n: number) => `${n} examples with images were skipped.`,
  missingMessages: (n: number, role: string) => `${n} examples have no ${role} message.`,
  duplicate: (x: number, y: number) => `Example ${x} duplicates example ${y}.`,
  overlap: (x: number, y: number) => `Validation example ${x} is also training example ${y}.`,
  sensitive: (line: number, what: string) => `Line ${line}: looks like ${what}.`,
  more: (n: number) => `… and ${n} more`,
} as const;
