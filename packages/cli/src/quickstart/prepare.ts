import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runPython } from "./run-python.ts";

/** What prepare.py made: where the converted model and the rows are. */
export interface Prepared {
  readonly model: string;
  readonly dataDirectory: string;
  readonly rows: { readonly train: number; readonly validation: number; readonly test: number };
}

interface Said {
  readonly what?: string;
  readonly ratio?: number | null;
  readonly error?: string;
  readonly facts?: { model: string; rows: Prepared["rows"] };
}

/** Fetches and converts model and data with progress on `say`. Throws with the fetch's own words when it cannot. */
export async function prepare(
  python: string,
  paths: { readonly example: string; readonly dataDirectory: string },
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<Prepared> {
  let facts: Said["facts"];
  let failed: string | undefined;
  let saidOf = "";
  const heard = (line: unknown): void => {
    const said = line as Said;
    if (said.error !== undefined) failed = said.error;
    if (said.facts) facts = said.facts;
    if (said.what === undefined || said.what === "ready") return;
    // One line when something starts and one when it is done: enough for minutes, not a wall of text.
    if (said.what !== saidOf) say(`  ${said.what} …`);
    saidOf = said.what;
  };
  const args = [join(paths.example, "prepare.py"), paths.dataDirectory];
  await runPython(python, args, { signal, heard }).catch((reason: unknown) => {
    throw failed === undefined ? reason : new Error(failed);
  });
  if (!facts) throw new Error("prepare.py ended without its facts");
  return { model: facts.model, dataDirectory: paths.dataDirectory, rows: facts.rows };
}

/** The example's job with the paths of this machine filled in. */
export function jobText(example: string, prepared: Prepared): string {
  const paths: Readonly<Record<string, string>> = {
    MODEL: prepared.model,
    DATA: prepared.dataDirectory,
  };
  const template = readFileSync(join(example, "job.yaml"), "utf8");
  return template.replaceAll(/\$\{(\w+)\}/g, (whole, name: string) => paths[name] ?? whole);
}

/** A name for what an evaluation depends on, so that a second run reuses its scores. */
export function evaluationKey(parts: readonly string[], files: readonly string[]): string {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(`${part}\0`);
  for (const file of files) digest.update(readFileSync(file));
  return digest.digest("hex").slice(0, 16);
}
