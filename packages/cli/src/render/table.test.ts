import { expect, it } from "vitest";
import { type Column, table, width } from "./table.ts";

interface Row {
  readonly name: string;
  readonly step: number;
  readonly queue: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: "NAME", cell: (row) => row.name },
  { title: "STEP", right: true, cell: (row) => `${row.step}` },
  { title: "QUEUE", wide: true, cell: (row) => row.queue },
];
const ROWS: readonly Row[] = [
  { name: "support-tone", step: 118, queue: "research" },
  { name: "読み仮名", step: 7, queue: "" },
];

it("aligns columns and right-aligns numbers", () => {
  expect(table(ROWS, COLUMNS, { wide: false, headers: true })).toBe(
    ["NAME           STEP", "support-tone    118", "読み仮名          7", ""].join("\n"),
  );
});

it("shows wide columns when asked and a dash for what is empty", () => {
  expect(table(ROWS, COLUMNS, { wide: true, headers: false })).toBe(
    ["support-tone   118   research", "読み仮名         7   -", ""].join("\n"),
  );
});

it("does not let a cell break the table", () => {
  const rows = [{ name: "a\nb\u001b[2J", step: 1, queue: "" }];
  expect(table(rows, COLUMNS, { wide: false, headers: false })).toBe("a\\nb\\x1b[2J   1\n");
});

it("counts cells, not code units", () => {
  expect([width("abc"), width("読み"), width("e\u0301"), width("😀")]).toEqual([3, 4, 1, 2]);
});
