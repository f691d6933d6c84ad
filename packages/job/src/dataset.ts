/**
 * Training data, checked a line at a time: shape, every problem with its line and example, the canonical
 * records, what the file holds. Needs no model: token counts and masks are the trainer's.
 */
import { canonicalJson } from "./canonical-json.ts";
import { hasImage, isPlainObject, type PlainObject } from "./data-messages.ts";
import { DATA_HINTS, DATA_TEXTS, type DataProblem, type DataProblemCode } from "./data-problems.ts";
import { type CanonicalRecord, readRecord } from "./data-records.ts";
import { type DataContainer, makeRowSource, type RowSource } from "./data-rows.ts";
import {
  DEFAULT_MASKS,
  detectShape,
  type Implied,
  isTrainable,
  KNOWN_KEYS,
  SHAPE_KEYS,
  SHAPE_NAMES,
  type Shape,
  shapeAskedFor,
  type TrainableShape,
} from "./data-shapes.ts";
import { type DataStatistics, makeDataSurvey } from "./data-survey.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { DATA_PROBLEMS_MAX, EXAMPLES_MIN } from "./limits.ts";
import type { DataFormat } from "./spec.ts";

export type DataPart = "train" | "validation" | "test";

export interface DatasetOptions {
  readonly container: DataContainer;
  /** The file lies in an MLX folder: its name is train.jsonl, valid.jsonl or test.jsonl. */
  readonly isMlx: boolean;
  readonly part: DataPart;
  readonly format: DataFormat;
  /** Role → column. */
  readonly map: Readonly<Record<string, string>>;
  readonly allowSmall: boolean;
  /** Only the first so many rows; null = all. */
  readonly rowsMax: number | null;
  /** Tokens that a text must not contain; from the base's tokenizer. */
  readonly specialTokens: readonly string[];
  /** Fingerprint → example of the training file, for finding its rows in another file. */
  readonly trainFingerprints: ReadonlyMap<string, number>;
  /** Told every record that is fit to train on; called as the file is read. */
  readonly onRecord: (record: CanonicalRecord) => void;
}

const DEFAULT_OPTIONS: DatasetOptions = {
  container: "json",
  isMlx: false,
  part: "train",
  format: "auto",
  map: {},
  allowSmall: false,
  rowsMax: null,
  specialTokens: [],
  trainFingerprints: new Map(),
  onRecord: () => undefined,
};

export interface DatasetReport {
  /** No errors. */
  readonly ok: boolean;
  /** null when the file ended before a shape was seen. */
  readonly shape: Shape | null;
  /** Records fit to train on. */
  readonly examples: number;
  /** The first DATA_PROBLEMS_MAX of each severity, in the order of the file. */
  readonly problems: readonly DataProblem[];
  readonly errorsCount: number;
  readonly warningsCount: number;
  /** `… and N more`, when there are more than `problems` holds; else null. */
  readonly more: string | null;
  readonly statistics: DataStatistics;
  readonly fingerprints: ReadonlyMap<string, number>;
}

export interface DatasetChecker {
  /** The next line, decoded; `number` from 1. */
  line(text: string, number: number): void;
  /** A line that is no UTF-8; `column` from 1. */
  undecodable(number: number, column: number): void;
  /** Call once, after the last line. */
  end(): DatasetReport;
}

/** All lines at once. */
export function checkDataset(
  lines: Iterable<string>,
  options: Partial<DatasetOptions> = {},
): DatasetReport {
  const checker = makeDatasetChecker(options);
  let number = 0;
  for (const line of lines) checker.line(line, ++number);
  return checker.end();
}

export function makeDatasetChecker(given: Partial<DatasetOptions> = {}): DatasetChecker {
  const options = { ...DEFAULT_OPTIONS, ...given };
  const problems = makeProblemList();
  const reader = makeRecordReader(options, problems);
  let examples = 0;
  const source: RowSource = makeRowSource(options.container, {
    row(line, value) {
      if (options.rowsMax !== null && examples >= options.rowsMax) return;
      examples++;
      reader.row(value, line, examples);
    },
    error: (code, message, line) => problems.add("error", code, { message, line, example: null }),
    warn: (code, message, line) => problems.add("warning", code, { message, line, example: null }),
    examples: () => examples,
  });
  return {
    line: (text, number) => source.line(text, number),
    undecodable(number, column) {
      const message = DATA_TEXTS.encoding(number, column);
      problems.add("error", "invalid_encoding", { message, line: number, example: null });
    },
    end() {
      source.end();
      reader.end();
      return {
        ok: problems.count("error") === 0,
        shape: reader.shape(),
        examples: reader.records(),
        problems: problems.list(),
        errorsCount: problems.count("error"),
        warningsCount: problems.count("warning"),
        more: problems.more(),
        statistics: reader.statistics(),
        fingerprints: reader.fingerprints(),
      };
    },
  };
}

interface At {
  readonly message: string;
  readonly line: number | null;
  readonly example: number | null;
}

interface ProblemList {
  add(severity: DataProblem["severity"], code: DataProblemCode, at: At): void;
  count(severity: DataProblem["severity"]): number;
  list(): DataProblem[];
  more(): string | null;
}

/** Keeps the first of each severity and counts the rest; a warning is told once for each text. */
function makeProblemList(): ProblemList {
  const kept: Record<DataProblem["severity"], DataProblem[]> = { error: [], warning: [] };
  const counts = { error: 0, warning: 0 };
  return {
    add(severity, code, at) {
      if (severity === "warning" && kept.warning.some(({ message }) => message === at.message))
        return;
      counts[severity]++;
      if (kept[severity].length >= DATA_PROBLEMS_MAX) return;
      kept[severity].push({ severity, code, ...at, hint: DATA_HINTS[code] });
    },
    count: (severity) => counts[severity],
    list: () => [...kept.error, ...kept.warning],
    more() {
      const hidden = counts.error + counts.warning - kept.error.length - kept.warning.length;
      return hidden === 0 ? null : DATA_TEXTS.more(hidden);
    },
  };
}

interface RecordReader {
  row(value: PlainObject, line: number, example: number): void;
  end(): void;
  shape(): Shape | null;
  records(): number;
  statistics(): DataStatistics;
  fingerprints(): ReadonlyMap<string, number>;
}

/** Fingerprints kept; a larger file is only searched for duplicates in its first part. */
const FINGERPRINTS_MAX = 5_000_000;

function makeRecordReader(options: DatasetOptions, problems: ProblemList): RecordReader {
  const implied = impliedBy(options);
  const renames = new Map(Object.entries(options.map).map(([role, column]) => [column, role]));
  const survey = makeDataSurvey();
  const fingerprints = new Map<string, number>();
  let shape = shapeAskedFor(options.format);
  /** The first row had no shape we can train on: the others would only repeat it. */
  let isHopeless = false;

  const settle = (keys: ReadonlySet<string>, line: number, example: number): void => {
    const found = shape === null ? detectShape(keys, implied, renames.size > 0) : [shape];
    const [only] = found;
    if (only !== undefined && found.length === 1 && isTrainable(only)) {
      shape = only;
      return;
    }
    isHopeless = true;
    shape = found.length === 1 && only !== undefined ? only : null;
    const { code, message } = problemOfShape(found, { keys, line, implied });
    problems.add("error", code, { message, line, example });
  };
  const remember = (record: CanonicalRecord): void => {
    const { messages, tools, fields, line, example } = record;
    const print = fingerprintOf(canonicalJson({ messages, tools, fields }));
    const twin = fingerprints.get(print);
    const train = options.trainFingerprints.get(print);
    if (twin !== undefined) {
      problems.add("warning", "duplicate", {
        message: DATA_TEXTS.duplicate(example, twin),
        line,
        example,
      });
    } else if (fingerprints.size < FINGERPRINTS_MAX) fingerprints.set(print, example);
    if (train !== undefined) {
      const message = DATA_TEXTS.overlap(example, train);
      problems.add("warning", "train_valid_overlap", { message, line, example });
    }
  };

  return {
    row(raw, line, example) {
      if (isHopeless) return;
      const value = renamed(raw, renames, { line, example, problems });
      if (!value) return;
      if (shape === null || !isTrainable(shape)) settle(new Set(Object.keys(value)), line, example);
      if (isHopeless || shape === null || !isTrainable(shape)) return;
      if (shape === "chat" && isImageRow(value)) {
        survey.imageRow();
        return;
      }
      const record = readRow(value, { shape, implied, line, example, options, problems });
      if (!record) return;
      survey.record(record, problems);
      remember(record);
      options.onRecord(record);
    },
    end() {
      survey.end(problems);
      checkCount(survey.statistics().examples, options, problems);
    },
    shape: () => shape,
    records: () => survey.statistics().examples,
    statistics: () => survey.statistics(),
    fingerprints: () => fingerprints,
  };
}

function impliedBy(options: DatasetOptions): Implied {
  if (options.format === "mlx" || options.isMlx) return "mlx";
  const isTable = options.container === "csv" || options.container === "tsv";
  return options.format === "tabular" || isTable ? "tabular" : null;
}

function checkCount(examples: number, options: DatasetOptions, problems: ProblemList): void {
  const isEnough = examples >= (options.part === "train" ? EXAMPLES_MIN : 1);
  if (isEnough) return;
  const at = { message: DATA_TEXTS.tooFew(examples), line: null, example: null };
  if (examples > 0 && options.allowSmall) problems.add("warning", "invalid_n_examples", at);
  // What is wrong with single rows says more than their number.
  else if (problems.count("error") === 0) problems.add("error", "invalid_n_examples", at);
}

/** Keys of a row that a message lists. */
const KEYS_LISTED_MAX = 20;

function listed(keys: Iterable<string>): string {
  return [...keys].slice(0, KEYS_LISTED_MAX).join(", ");
}

interface RowContext {
  readonly line: number;
  readonly example: number;
  readonly problems: ProblemList;
}

/** Columns under the names of their roles; null when a column of the map is not there. */
function renamed(
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

function problemOfShape(
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
function isImageRow(value: PlainObject): boolean {
  const messages = value["messages"];
  if (!Array.isArray(messages) || !hasImage(messages)) return false;
  return !hasImage(
    messages.filter((item: unknown) => isPlainObject(item) && item["role"] === "assistant"),
  );
}

interface Row extends RowContext {
  readonly shape: TrainableShape;
  readonly implied: Implied;
  readonly options: DatasetOptions;
}

/** null when the row had an error; all of its errors are noted. */
function readRow(value: PlainObject, row: Row): CanonicalRecord | null {
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
  const token = record && specialTokenIn(record, row.options.specialTokens);
  if (token) note("invalid_token", DATA_TEXTS.invalidToken(example, token));
  return problems.count("error") > before ? null : record;
}

function specialTokenIn(record: CanonicalRecord, tokens: readonly string[]): string | null {
  const texts = [...record.messages.map(({ content }) => content), ...Object.values(record.fields)];
  return tokens.find((token) => texts.some((text) => text.includes(token))) ?? null;
}
