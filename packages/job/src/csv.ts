/** Comma- and tab-separated rows (RFC 4180), a line at a time: a quoted cell may go on over lines. */

export interface CsvRow {
  /** The line on which the row begins. */
  readonly line: number;
  readonly cells: readonly string[];
}

/** What a line led to. */
export type CsvStep =
  | { readonly kind: "row"; readonly row: CsvRow }
  /** The row goes on; nothing to do yet. */
  | { readonly kind: "more" }
  | { readonly kind: "fault"; readonly line: number; readonly problem: string };

/** Fed line by line. */
export interface CsvReader {
  /** The next line without its end; an empty line outside quotes is a row without cells. */
  line(text: string, number: number): CsvStep;
  /** null when the last row was complete. */
  end(): CsvStep | null;
}

type Mode = "start" | "plain" | "quoted" | "closed";

/** After a fault the reader starts afresh with the next line. */
export function makeCsvReader(delimiter: "," | "\t", rowCharactersMax: number): CsvReader {
  let cells: string[] = [];
  let cell = "";
  let mode: Mode = "start";
  let begin: number | null = null;
  let last = 0;
  let length = 0;

  const reset = (): void => {
    cells = [];
    cell = "";
    mode = "start";
    begin = null;
    length = 0;
  };
  const fault = (problem: string): CsvStep => {
    reset();
    return { kind: "fault", line: last, problem };
  };
  /** A sentence when the character cannot stand here. */
  const take = (character: string): string | null => {
    if (mode === "quoted") {
      if (character === '"') mode = "closed";
      else cell += character;
    } else if (character === delimiter) {
      cells.push(cell);
      cell = "";
      mode = "start";
    } else if (character === '"' && mode !== "plain") {
      // A second quote inside a quoted cell stands for one quote.
      if (mode === "closed") cell += '"';
      mode = "quoted";
    } else if (mode === "closed") {
      return `'${delimiter === "\t" ? "\\t" : delimiter}' expected after '"'`;
    } else {
      cell += character;
      mode = "plain";
    }
    return null;
  };

  return {
    line(text, number) {
      last = number;
      begin ??= number;
      length += text.length;
      if (length > rowCharactersMax)
        return fault(`a row is longer than ${rowCharactersMax} characters`);
      if (text === "" && cells.length === 0 && mode === "start") {
        reset();
        return { kind: "row", row: { line: number, cells: [] } };
      }
      for (const character of text) {
        const problem = take(character);
        if (problem !== null) return fault(problem);
      }
      if (mode === "quoted") {
        cell += "\n";
        return { kind: "more" };
      }
      const row = { line: begin, cells: [...cells, cell] };
      reset();
      return { kind: "row", row };
    },
    end() {
      return mode === "quoted" ? fault("unexpected end of data") : null;
    },
  };
}
