/**
 * Training data, checked a line at a time: shape, every problem with its line and example, the canonical
 * records, what the file holds. Needs no model: token counts and masks are the trainer's.
 */
import { canonicalJson } from "./canonical-json.ts";
import type { PlainObject } from "./data-messages.ts";
import { DATA_TEXTS, type DataProblem } from "./data-problems.ts";
import type { CanonicalRecord } from "./data-records.ts";
import { type DataContainer, makeRowSource, type RowSource } from "./data-rows.ts";
import {
  detectShape,
  type Implied,
  isTrainable,
  type Shape,
  shapeAskedFor,
} from "./data-shapes.ts";
import { type DataStatistics, makeDataSurvey } from "./data-survey.ts";
import { isImageRow, problemOfShape, readRow, renamed } from "./dataset-row.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { EXAMPLES_MIN } from "./limits.ts";
import { makeProblemList, type ProblemList } from "./problem-list.ts";
import type { DataFormat } from "./spec.ts";

/** What a file is for. */
export type DataPart = "train" | "validation" | "test";

/** How a file is to be read; everything has a default. */
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

/** What is wrong with a file, and what it holds. */
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

/** Fed line by line, in constant memory but for fingerprints and text documents. */
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

/** A checker for one file; files are never mixed. */
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
  const { specialTokens } = options;
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
      const record = readRow(value, { shape, implied, line, example, problems, specialTokens });
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
