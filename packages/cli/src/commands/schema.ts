import { nearestName } from "@shardwright/job/nearest";
import { parseJobDocument } from "@shardwright/job/parse";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { formatOf, machine } from "../output.ts";

import { table } from "../render/table.ts";

/** One field of a job document, as the parser fills it in. */
interface Field {
  readonly path: string;
  readonly value: unknown;
}

const EXAMPLE = {
  apiVersion: "shardwright.dev/v1alpha1",
  kind: "FineTuneJob",
  metadata: { name: "example" },
  spec: {
    model: { source: "file:///models/base" },
    data: { train: { source: "file:///data/train.jsonl" } },
  },
};
const REQUIRED = new Set(["spec.model.source", "spec.data.train.source"]);

/** The fields of a job and what each is when it is left out: the smallest job, expanded by the parser itself. */
export async function run(call: Invocation): Promise<ExitCode> {
  const format = formatOf(call, ["text", "json", "yaml", "jsonpath"]);
  const asked = (call.args[0] ?? "spec").replace(/^(?!spec(\.|$))/, "spec.");
  const fields = smallestJob();
  const shown = fields.filter(({ path }) => path === asked || path.startsWith(`${asked}.`));
  if (shown.length === 0) throw unknownField(asked, fields);
  if (format.kind === "text") {
    const rows = shown.map(({ path, value }) => ({ path, type: typeOf(value), value }));
    call.io.out(
      table(
        rows,
        [
          { title: "FIELD", cell: ({ path }) => path },
          { title: "TYPE", cell: ({ type }) => type },
          { title: "DEFAULT", cell: ({ path, value }) => defaultOf(path, value) },
        ],
        { wide: false, headers: true },
      ),
    );
  } else {
    call.io.out(
      await machine(Object.fromEntries(shown.map(({ path, value }) => [path, value])), format),
    );
  }
  return EXIT.done;
}

function smallestJob(): readonly Field[] {
  const parsed = parseJobDocument(EXAMPLE);
  if (!parsed.ok)
    throw new Error(`the smallest job is refused: ${JSON.stringify(parsed.complaints)}`);
  return flatten("spec", parsed.document.spec);
}

function flatten(path: string, value: unknown): readonly Field[] {
  const isSection = typeof value === "object" && value !== null && !Array.isArray(value);
  const entries = isSection ? Object.entries(value) : [];
  if (entries.length === 0) return [{ path, value }];
  return entries.flatMap(([key, inner]) => flatten(`${path}.${key}`, inner));
}

function defaultOf(path: string, value: unknown): string {
  if (REQUIRED.has(path)) return "(required)";
  return value === null ? "(planned, or none)" : JSON.stringify(value);
}

function typeOf(value: unknown): string {
  if (value === null) return "optional";
  return Array.isArray(value) ? "list" : typeof value === "object" ? "map" : typeof value;
}

function unknownField(asked: string, fields: readonly Field[]): Refusal {
  const paths = new Set(fields.flatMap(({ path }) => prefixesOf(path)));
  const near = nearestName(asked, [...paths]);
  return new Refusal(
    EXIT.usage,
    `a job has no field ${asked}`,
    near === null ? {} : { why: `did you mean ${near}?` },
  );
}

function prefixesOf(path: string): readonly string[] {
  const words = path.split(".");
  return words.map((_, i) => words.slice(0, i + 1).join("."));
}
