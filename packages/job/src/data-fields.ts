/** The fields `model` and `data` of a spec: type, bounds, default, and what this release refuses by name. */
import { DEFAULTS } from "./defaults.ts";
import {
  complain,
  flag,
  integer,
  object,
  oneOf,
  optional,
  type Reader,
  required,
  text,
} from "./fields.ts";
import { ROW_TOKENS_MAX, STEPS_MAX } from "./limits.ts";
import { source } from "./sources.ts";
import type { DataSource, DataSpec, ModelRef } from "./spec.ts";

/** Names of columns, templates and modules. */
const WORD_CHARACTERS_MAX = 256;

/** `spec.model`. */
export const model: Reader<ModelRef> = object<ModelRef>({
  source: required(source({ fineTuned: true }), '"file:///models/SmolLM2-135M-Instruct"'),
  revision: optional(text(WORD_CHARACTERS_MAX), DEFAULTS.model.revision),
  acceptLicence: optional(flag, DEFAULTS.model.acceptLicence),
});

const dataSource: Reader<DataSource> = object<DataSource>({
  source: required(source({ fineTuned: false }), '"file:///data/train.jsonl"'),
  rowsMax: optional(integer({ min: 1, max: STEPS_MAX, of: "rows" }), DEFAULTS.rowsMax),
});

/** Fields of a canonical row that a column may stand for. */
const MAP_ROLES = [
  "instruction",
  "input",
  "output",
  "system",
  "history",
  "prompt",
  "completion",
  "text",
  "messages",
  "tools",
  "conversations",
] as const;

const columnMap: Reader<Readonly<Record<string, string>>> = (value, at) => {
  const column = optional(text(WORD_CHARACTERS_MAX), "");
  const readers = Object.fromEntries(MAP_ROLES.map((role) => [role, column]));
  const read = object<Record<string, string>>(readers)(value, at);
  const columns = Object.entries(read).filter(([, name]) => name !== "");
  const twice = columns.find(([, name], index) =>
    columns.slice(0, index).some(([, earlier]) => earlier === name),
  );
  if (twice) complain(at, `column "${twice[1]}" is given two roles; each column has one`);
  return Object.fromEntries(columns);
};

const FORMAT_LATER = {
  preference: "preference data can be checked but not trained; use chat or completions",
  classification:
    "labelled rows can be checked but not trained; use completions with the label as text",
  embedding: "pairs can be checked but not trained; use chat or completions",
  parquet: "write the rows as JSON lines",
  xlsx: "save the sheet as CSV",
};

/** Packs are always isolated: no token sees another document. */
const packing: Reader<{ readonly length: number }> = (value, at) => {
  const { length } = object<{ length: number; boundaries: "isolate" }>({
    length: required(integer({ min: 8, max: ROW_TOKENS_MAX, of: "tokens" }), "2048"),
    boundaries: optional(
      oneOf(["isolate"], { cross: "documents in a pack are always isolated" }),
      "isolate",
    ),
  })(value, at);
  return { length };
};

/** `spec.data`. */
export const data: Reader<DataSpec> = object<DataSpec>(
  {
    train: dataSource,
    validation: optional(dataSource, null),
    test: optional(dataSource, null),
    format: optional(
      oneOf(
        ["auto", "chat", "completions", "alpaca", "sharegpt", "mlx", "text", "tabular"],
        FORMAT_LATER,
      ),
      DEFAULTS.data.format,
    ),
    map: optional(columnMap, DEFAULTS.data.map),
    template: optional(
      oneOf(["base", "alpaca", "alpaca-ja", "dolly", "raw", "chatml"]),
      DEFAULTS.data.template,
    ),
    mask: optional(
      oneOf(["auto", "assistant", "last-assistant", "completion", "all"]),
      DEFAULTS.data.mask,
    ),
    packing: optional(packing, DEFAULTS.data.packing),
    truncation: object<DataSpec["truncation"]>({
      policy: optional(oneOf(["truncate", "drop", "error"]), DEFAULTS.data.truncation.policy),
      maxTokens: optional(
        integer({ min: 1, max: ROW_TOKENS_MAX, of: "tokens" }),
        DEFAULTS.data.truncation.maxTokens,
      ),
    }),
    allowSmall: optional(flag, DEFAULTS.data.allowSmall),
  },
  {
    later: {
      mix: "put the rows of all sources into one file",
      padding: "rows are padded only as far as a step needs; remove it",
      render: "pairs are rendered as they are; write chat rows for turns",
      textUnit: "a text file is one document; write JSON lines with a text field for more",
      validFraction: "split the file yourself and give data.validation",
      blockSensitive: "run the data check and remove the rows it names",
    },
  },
);
