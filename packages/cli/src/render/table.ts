import { visible } from "./escape.ts";

export interface Column<Row> {
  readonly title: string;
  /** Numbers are right-aligned. */
  readonly right?: boolean;
  /** Only with `-o wide`. */
  readonly wide?: boolean;
  cell(row: Row): string;
}

export interface TableOptions {
  readonly wide: boolean;
  readonly headers: boolean;
}

// Between columns, as kubectl does.
const GAP = "   ";

/** Lines of a table, each with its line break; cells are made safe for a terminal. Empty cells become `-`. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: TableOptions,
): string {
  const shown = columns.filter((column) => options.wide || column.wide !== true);
  const lines = rows.map((row) => shown.map((column) => visible(column.cell(row)) || "-"));
  if (options.headers) lines.unshift(shown.map((column) => column.title));
  const widths = shown.map((_, i) => Math.max(0, ...lines.map((line) => width(line[i] ?? ""))));
  return lines.map((line) => `${drawLine(line, widths, shown)}\n`).join("");
}

function drawLine(
  cells: readonly string[],
  widths: readonly number[],
  columns: readonly { readonly right?: boolean }[],
): string {
  const padded = cells.map((cell, i) => {
    const space = " ".repeat((widths[i] ?? 0) - width(cell));
    return columns[i]?.right ? space + cell : cell + space;
  });
  return padded.join(GAP).trimEnd();
}

// East Asian wide and fullwidth forms and emoji take two cells, combining marks none.
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const ZERO = /\p{Mn}|\p{Me}|\u200b|\u200c|\u200d/u; // \ufe0f is one of \p{Mn}

/** Cells of a terminal that the text takes. */
export function width(text: string): number {
  let cells = 0;
  for (const character of text) {
    cells += ZERO.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  }
  return cells;
}
