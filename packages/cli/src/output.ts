import { EXIT, Refusal } from "./exit.ts";
import type { Invocation } from "./invocation.ts";
import { json, list } from "./render/json.ts";
import { type Column, table } from "./render/table.ts";

type Format =
  | { readonly kind: "table" | "wide" | "json" | "yaml" | "name" | "text" | "raw" }
  | { readonly kind: "jsonpath"; readonly template: string };

/** What `-o` asks for, refused unless it is among `allowed`. The first one is the default. */
export function formatOf(call: Invocation, allowed: readonly Format["kind"][]): Format {
  const asked = call.flags.text("output");
  if (asked === undefined) return { kind: allowed[0] ?? "text" } as Format;
  if (asked.startsWith("jsonpath=") && allowed.includes("jsonpath")) {
    return { kind: "jsonpath", template: asked.slice("jsonpath=".length) };
  }
  if (asked !== "jsonpath" && allowed.some((kind) => kind === asked))
    return { kind: asked } as Format;
  const spelled = allowed.map((kind) => (kind === "jsonpath" ? "jsonpath=TEMPLATE" : kind));
  throw new Refusal(EXIT.usage, `-o ${asked}: expected one of ${spelled.join(", ")}`);
}

/** An object in the machine format that was asked for, or `text`. */
export async function printObject(
  value: unknown,
  call: Invocation,
  text: () => string,
): Promise<void> {
  const format = formatOf(call, ["text", "json", "yaml", "jsonpath"]);
  call.io.out(format.kind === "text" ? text() : await machine(value, format));
}

export interface Listing<Row> {
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  /** One row as the object that scripts read. */
  object(row: Row): unknown;
  /** `finetunejob.shardwright.dev/tone`. */
  name(row: Row): string;
  /** Printed as the object itself, not as a list of one. */
  readonly single?: boolean;
  /** Said on stderr when there is nothing to show in a table. */
  readonly empty: string;
}

const LIST_FORMATS = ["table", "wide", "json", "yaml", "name", "jsonpath"] as const;

/** Rows in the format that was asked for. */
export async function printList<Row>(listing: Listing<Row>, call: Invocation): Promise<void> {
  const format = formatOf(call, LIST_FORMATS);
  const { rows } = listing;
  if (format.kind === "table" || format.kind === "wide") {
    if (rows.length === 0) call.io.err(`${listing.empty}\n`);
    else call.io.out(drawTable(listing, call, format.kind === "wide"));
  } else if (format.kind === "name") {
    call.io.out(rows.map((row) => `${listing.name(row)}\n`).join(""));
  } else {
    const objects = rows.map((row) => listing.object(row));
    call.io.out(await machine(listing.single ? objects[0] : list(objects), format));
  }
}

function drawTable<Row>(listing: Listing<Row>, call: Invocation, wide: boolean): string {
  // commander turns --no-headers into headers: false.
  return table(listing.rows, listing.columns, { wide, headers: !call.flags.off("headers") });
}

/** JSON, YAML or a JSONPath of the value. */
export async function machine(value: unknown, format: Format): Promise<string> {
  const text = json(value);
  if (format.kind === "yaml") {
    const { yaml } = await import("./render/yaml.ts");
    return yaml(JSON.parse(text));
  }
  if (format.kind !== "jsonpath") return text;
  const { renderJsonPath } = await import("./render/jsonpath.ts");
  const rendered = renderJsonPath(format.template, JSON.parse(text));
  if (!rendered.ok) throw new Refusal(EXIT.usage, `-o jsonpath: ${rendered.problem}`);
  return rendered.text;
}
