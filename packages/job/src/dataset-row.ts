/** One row of a file: columns under their roles, its shape, its record, everything that is wrong with it. */
import { hasImage, isPlainObject, type PlainObject } from "./data-messages.ts";
import { DATA_TEXTS, type DataProblemCode } from "./data-problems.ts";
import { type CanonicalRecord, readRecord } from "./data-records.ts";
import {
  DEFAULT_MASKS,
  detectShape,
  type Implied,
  KNOWN_KEYS,
  SHAPE_KEYS,
  SHAPE_NAMES,
  type Shape,
  type TrainableShape,
} from "./data-shapes.ts";
import type { ProblemList } from "./problem-list.ts";

/** Keys of a row that a message lists. */
const KEYS_LISTED_MAX = 20;

function listed(keys: Iterable<string>): string {
  return [...keys].slice(0, KEYS_LISTED_MAX).join(", ");
}

/** Where a row stands, and where its problems go. */
export interface RowContext {
  readonly line: number;
  readonly example: number;
  readonly problems: ProblemList;
}

/** Columns under the names of their roles; null when a column of the map is not there. */
export function renamed(
  value: PlainObject,
  renames: ReadonlyMap<string, string>,
  { line, example, problems }: RowContext,
): PlainObject | null {
  if (renames.size === 0) return value;
  for (const column of renames.keys()) {
    if (Object.hasOwn(value, column)) continue;
    const message = DATA_TEXTS.missingColumn(line, column, listed(Object.keys(value)));
    problems.add("error", "missing_column", { message, line, example });
    return null;
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [renames.get(key) ?? key, entry]),
  );
}

/** Why the shapes found for the first row do not do: none, several, or one that is not trained. */
export function problemOfShape(
  found: readonly Shape[],
  row: { readonly keys: ReadonlySet<string>; readonly line: number; readonly implied: Implied },
): { readonly code: DataProblemCode; readonly message: string } {
  const [only] = found;
  if (only === undefined) {
    const message = DATA_TEXTS.unknownShape(row.line, listed(row.keys));
    const hint = row.implied === "tabular" ? DATA_TEXTS.mapWanted : "";
    return { code: "unknown_format", message: message + hint };
  }
  if (found.length === 1) {
    return { code: "unsupported_format", message: DATA_TEXTS.unsupported(SHAPE_NAMES[only]) };
  }
  const names = found.map((shape) => SHAPE_NAMES[shape]).join(" and ");
  return { code: "ambiguous_format", message: DATA_TEXTS.ambiguous(row.line, names) };
}

/** Rows with pictures are skipped whole; one in an answer is an error that the reader names. */
export function isImageRow(value: PlainObject): boolean {
  const messages = value["messages"];
  if (!Array.isArray(messages) || !hasImage(messages)) return false;
  return !hasImage(
    messages.filter((item: unknown) => isPlainObject(item) && item["role"] === "assistant"),
  );
}

/** A row of a settled shape. */
export interface Row extends RowContext {
  readonly shape: TrainableShape;
  readonly implied: Implied;
  readonly specialTokens: readonly string[];
}

/** null when the row had an error; all of its errors are noted. */
export function readRow(value: PlainObject, row: Row): CanonicalRecord | null {
  const { shape, implied, line, example, problems } = row;
  const before = problems.count("error");
  const note = (code: DataProblemCode, message: string): void =>
    problems.add("error", code, { message, line, example });
  const missing = SHAPE_KEYS[shape].find((key) => !Object.hasOwn(value, key));
  if (missing !== undefined) {
    const others = detectShape(new Set(Object.keys(value)), implied, true);
    const other = others.find((found) => found !== shape);
    if (other === undefined) note("missing_messages_list", DATA_TEXTS.missingKey(example, missing));
    else note("mixed_format", DATA_TEXTS.mixed(SHAPE_NAMES[shape], line, SHAPE_NAMES[other]));
    return null;
  }
  for (const key of Object.keys(value)) {
    if (KNOWN_KEYS[shape]?.includes(key) ?? true) continue;
    problems.add("warning", "ignored_key", {
      message: DATA_TEXTS.ignoredKey(key),
      line,
      example,
    });
  }
  const isMlx = implied === "mlx";
  const mask = isMlx ? "all" : DEFAULT_MASKS[shape];
  const record = readRecord(shape, value, { line, example, note }, { mask, isMlx });
  const token = record && specialTokenIn(record, row.specialTokens);
  if (token) note("invalid_token", DATA_TEXTS.invalidToken(example, token));
  return problems.count("error") > before ? null : record;
}

function specialTokenIn(record: CanonicalRecord, tokens: readonly string[]): string | null {
  const texts = [...record.messages.map(({ content }) => content), ...Object.values(record.fields)];
  return tokens.find((token) => texts.some((text) => text.includes(token))) ?? null;
}
