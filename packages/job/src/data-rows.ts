/** Lines of a file → rows, by the container that holds them. Nothing here knows what a row means. */
import { makeCsvReader } from "./csv.ts";
import { isPlainObject, type PlainObject } from "./data-messages.ts";
import { DATA_TEXTS, type DataProblemCode } from "./data-problems.ts";
import { type ArraySplitter, makeArraySplitter } from "./json-array.ts";
import { characters, readJson, unpairedSurrogate } from "./json-text.ts";
import { LINE_CHARACTERS_MAX } from "./limits.ts";

/** `.jsonl` and `.json` are one: a JSON array in either is detected. */
export type DataContainer = "json" | "csv" | "tsv" | "text";

const CONTAINERS: Readonly<Record<string, DataContainer>> = {
  ".jsonl": "json",
  ".json": "json",
  ".csv": "csv",
  ".tsv": "tsv",
  ".txt": "text",
  ".md": "text",
};

/** The container by the extension of a file name; null when it is none that we read. */
export function containerOf(fileName: string): DataContainer | null {
  const extension = /\.[a-z0-9]+$/i.exec(fileName)?.[0]?.toLowerCase() ?? "";
  return CONTAINERS[extension] ?? null;
}

/** Where rows and problems go. */
export interface RowSink {
  row(line: number, value: PlainObject): void;
  error(code: DataProblemCode, message: string, line: number): void;
  warn(code: DataProblemCode, message: string, line: number | null): void;
  /** Examples so far, for problems of one that cannot be read. */
  examples(): number;
}

/** Takes a file line by line and hands its rows to a sink. */
export interface RowSource {
  /** A decoded line; a line feed, a carriage return before it and a byte order mark may still be there. */
  line(text: string, number: number): void;
  end(): void;
}

/** Checks the encoding and the length of every line, then reads it as its container wants. */
export function makeRowSource(container: DataContainer, sink: RowSink): RowSource {
  const source = MAKERS[container](sink);
  return {
    line(text, number) {
      const line = trimmed(text, number);
      const column = firstBad(line);
      if (column !== null) {
        sink.error("invalid_encoding", DATA_TEXTS.encoding(number, column), number);
      } else if (line.length > LINE_CHARACTERS_MAX) {
        sink.error("line_too_long", DATA_TEXTS.tooLong(number, LINE_CHARACTERS_MAX), number);
      } else {
        // Only a document keeps its line feeds: whether the last one is there is part of it.
        source.line(container === "text" && text.endsWith("\n") ? `${line}\n` : line, number);
      }
    },
    end: () => source.end(),
  };
}

function trimmed(text: string, number: number): string {
  const unmarked = number === 1 && text.startsWith("\uFEFF") ? text.slice(1) : text;
  return unmarked.replace(/[\r\n]+$/, "");
}

/** Column of NUL or of half a surrogate pair. */
function firstBad(line: string): number | null {
  const nul = line.indexOf("\0");
  if (nul >= 0) return characters(line.slice(0, nul)) + 1;
  if (line.isWellFormed()) return null;
  let column = 1;
  for (const character of line) {
    if (!character.isWellFormed()) return column;
    column++;
  }
  return null;
}

const MAKERS: Readonly<Record<DataContainer, (sink: RowSink) => RowSource>> = {
  json: makeJsonSource,
  csv: (sink) => makeTableSource(",", sink),
  tsv: (sink) => makeTableSource("\t", sink),
  text: makeTextSource,
};

/** JSON lines; the first character decides whether it is one array instead. */
function makeJsonSource(sink: RowSink): RowSource {
  let array: ArraySplitter | null = null;
  let started = false;
  let blank: number | null = null;
  let last = 0;
  const element = ({ line, text }: { line: number; text: string }): void => {
    readElement(text, line, sink);
  };
  return {
    line(text, number) {
      last = number;
      if (!started && text.trim() !== "") {
        started = true;
        if (text.trimStart().startsWith("[")) {
          array = makeArraySplitter(LINE_CHARACTERS_MAX);
          sink.warn("json_array", DATA_TEXTS.jsonArray, null);
        }
      }
      if (array) {
        array.line(text, number).forEach(element);
      } else if (text.trim() === "") {
        blank ??= number;
      } else {
        if (blank !== null) sink.warn("blank_line", DATA_TEXTS.blankLine(blank), blank);
        blank = null;
        readLine(text, number, sink);
      }
    },
    end() {
      const problem = array?.end() ?? null;
      if (problem !== null) sink.error("invalid_jsonl", problem, last);
    },
  };
}

/** Characters of a bad line that the message quotes. */
const LINE_START_CHARACTERS = 20;

function readLine(text: string, line: number, sink: RowSink): void {
  const reading = readJson(text);
  if (!reading.ok) {
    // Nothing but the line is known of such an example: its number stands for both.
    sink.error("invalid_jsonl", DATA_TEXTS.cannotParse(line, reading.problem, line), line);
  } else if (!isPlainObject(reading.value)) {
    const start = [...text.trimStart().slice(0, 2 * LINE_START_CHARACTERS)];
    const quoted = start.slice(0, LINE_START_CHARACTERS).join("");
    sink.error("invalid_jsonl", DATA_TEXTS.notDictionary(line, quoted), line);
  } else acceptRow(text, line, { value: reading.value, sink });
}

function readElement(text: string, line: number, sink: RowSink): void {
  const reading = readJson(text);
  const example = sink.examples() + 1;
  if (!reading.ok) {
    sink.error("invalid_jsonl", DATA_TEXTS.cannotParse(example, reading.problem, line), line);
  } else if (!isPlainObject(reading.value)) {
    sink.error("invalid_jsonl", DATA_TEXTS.elementNotDictionary(example, line), line);
  } else acceptRow(text, line, { value: reading.value, sink });
}

function acceptRow(text: string, line: number, row: { value: PlainObject; sink: RowSink }): void {
  const column = unpairedSurrogate(text);
  if (column === null) row.sink.row(line, row.value);
  else row.sink.error("invalid_encoding", DATA_TEXTS.encoding(line, column), line);
}

/** The first row that is not empty names the columns. */
function makeTableSource(delimiter: "," | "\t", sink: RowSink): RowSource {
  const reader = makeCsvReader(delimiter, LINE_CHARACTERS_MAX);
  let header: readonly string[] | null = null;
  /** A header that cannot be used makes every row below useless: one problem, not one per row. */
  let isHopeless = false;
  const accept = (cells: readonly string[], line: number): void => {
    const isEmpty =
      cells.length === 0 || (header !== null && cells.join("") === "" && cells.length === 1);
    if (isHopeless || isEmpty) return;
    if (!header) {
      header = cells;
      if (new Set(cells).size === cells.length) return;
      isHopeless = true;
      sink.error("invalid_columns", DATA_TEXTS.columnTwice(line), line);
    } else if (cells.length !== header.length) {
      const problem = DATA_TEXTS.columnCount(line, cells.length, header.length);
      sink.error("invalid_columns", problem, line);
    } else {
      sink.row(line, Object.fromEntries(header.map((name, i) => [name, cells[i] ?? ""])));
    }
  };
  return {
    line(text, number) {
      if (isHopeless) return;
      const step = reader.line(text, number);
      if (step.kind === "row") accept(step.row.cells, step.row.line);
      if (step.kind === "fault") {
        isHopeless = true;
        sink.error("invalid_columns", DATA_TEXTS.csv(step.line, step.problem), step.line);
      }
    },
    end() {
      const step = isHopeless ? null : reader.end();
      if (step?.kind === "fault") {
        sink.error("invalid_columns", DATA_TEXTS.csv(step.line, step.problem), step.line);
      }
    },
  };
}

/** Characters of one document: it becomes one example. */
const DOCUMENT_CHARACTERS_MAX = 64 * 1024 * 1024;

/** The whole file is one document. */
function makeTextSource(sink: RowSink): RowSource {
  const lines: string[] = [];
  let length = 0;
  return {
    line(text, number) {
      // A line that came without its end has one all the same when another follows.
      const before = lines.at(-1);
      if (before !== undefined && !before.endsWith("\n")) lines[lines.length - 1] = `${before}\n`;
      const wasFull = length > DOCUMENT_CHARACTERS_MAX;
      length += text.length + 1;
      if (length <= DOCUMENT_CHARACTERS_MAX) lines.push(text);
      else if (!wasFull) {
        const problem = DATA_TEXTS.tooLong(number, DOCUMENT_CHARACTERS_MAX);
        sink.error("line_too_long", problem, number);
      }
    },
    end() {
      const text = lines.join("");
      if (text.trim() !== "") sink.row(1, { text });
    },
  };
}
