import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { evaluationKey, type Prepared } from "./prepare.ts";
import { runPython } from "./run-python.ts";

/** Held-out addresses scored: enough to tell the variants apart, few enough for a minute. */
export const ROWS_SCORED = 100;
const SHOTS = 4;
const NEW_TOKENS_MAX = 160;

export interface Scores {
  readonly rows: number;
  readonly valid_json: number;
  readonly field_f1: number;
  readonly exact_match: number;
}

export interface Answered {
  readonly prompt: string;
  readonly expected: Readonly<Record<string, string>>;
  readonly answer: string;
}

export interface Evaluated {
  readonly scores: Scores;
  readonly answers: readonly Answered[];
}

export interface Variant {
  readonly label: string;
  readonly shots: number;
  /** Directory of an exported adapter; null = the base model. */
  readonly adapter: string | null;
}

export const BASE: Variant = { label: "base", shots: 0, adapter: null };
export const FOUR_EXAMPLES: Variant = { label: "base + 4 examples", shots: SHOTS, adapter: null };

/** Scores of one variant on the held-out rows; reused when nothing it depends on has changed. */
export async function evaluate(
  python: string,
  prepared: Prepared,
  variant: Variant,
  watching: { readonly signal: AbortSignal; progress(done: number, total: number): void },
): Promise<Evaluated> {
  const rows = join(prepared.dataDirectory, "test.jsonl");
  const examples = join(prepared.dataDirectory, "train.jsonl");
  const weights =
    variant.adapter === null ? [] : [join(variant.adapter, "adapter_model.safetensors")];
  const settings = [
    prepared.model,
    String(variant.shots),
    String(ROWS_SCORED),
    String(NEW_TOKENS_MAX),
  ];
  const key = evaluationKey(settings, [rows, examples, ...weights]);
  const folder = join(prepared.dataDirectory, "evaluations");
  const out = join(folder, `${key}.json`);
  if (!existsSync(out)) {
    mkdirSync(folder, { recursive: true });
    const beside = `${out}.${process.pid}.tmp`;
    const args = ["-m", "shardwright_trainer.evaluate", "--model", prepared.model, "--rows", rows];
    args.push(
      "--limit",
      String(ROWS_SCORED),
      "--max-new-tokens",
      String(NEW_TOKENS_MAX),
      "--out",
      beside,
    );
    if (variant.shots > 0) args.push("--shots", String(variant.shots), "--examples", examples);
    if (variant.adapter !== null) args.push("--adapter", variant.adapter);
    const heard = (message: unknown): void => {
      const { done, total } = message as { done: number; total: number };
      watching.progress(done, total);
    };
    await runPython(python, args, { signal: watching.signal, heard });
    renameSync(beside, out);
  }
  return JSON.parse(readFileSync(out, "utf8")) as Evaluated;
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** The table of variants as lines of text. */
export function comparisonTable(results: readonly { label: string; scores: Scores }[]): string[] {
  const head = ["", "exact match", "valid JSON", "field F1"];
  const body = results.map(({ label, scores }) => [
    label,
    percent(scores.exact_match),
    percent(scores.valid_json),
    scores.field_f1.toFixed(3),
  ]);
  const rows = [head, ...body];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map(
    (row) =>
      `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join("   ")}`,
  );
}

/** True when the answer is exactly the expected object. */
function isRight(row: Answered): boolean {
  try {
    const found = JSON.parse(row.answer) as Record<string, unknown>;
    const keys = Object.keys(found);
    return (
      keys.length === Object.keys(row.expected).length &&
      keys.every((key) => String(found[key]) === row.expected[key])
    );
  } catch {
    return false;
  }
}

/** A few before/after answers: successes first, and one failure when there is one. */
export function beforeAfter(base: Evaluated, tuned: Evaluated): string[] {
  const right = tuned.answers.filter(isRight).slice(0, 2);
  const wrong = tuned.answers.filter((row) => !isRight(row)).slice(0, 1);
  const shown = [...right, ...wrong];
  return shown.flatMap((row) => {
    const before = base.answers.find((other) => other.prompt === row.prompt)?.answer ?? "";
    const lines = [
      `  ${row.prompt}`,
      `    base   ${oneLine(before)}`,
      `    tuned  ${oneLine(row.answer)}`,
    ];
    if (!isRight(row)) lines.push(`    wrong; expected ${JSON.stringify(row.expected)}`);
    return [...lines, ""];
  });
}

const ANSWER_CHARACTERS_SHOWN = 120;

function oneLine(text: string): string {
  // Control characters of a model's answer must not reach the terminal.
  const flat = text.replaceAll(/[\p{Cc}\s]+/gu, " ").trim();
  return flat.length > ANSWER_CHARACTERS_SHOWN
    ? `${flat.slice(0, ANSWER_CHARACTERS_SHOWN)} …`
    : flat;
}
