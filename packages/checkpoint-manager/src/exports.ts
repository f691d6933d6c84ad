import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join } from "node:path";
import { createInterface } from "node:readline";
import { Fault } from "@shardwright/job/faults";
import { isObject, type Json, type JsonObject, parseCanonical } from "./core/canonical-json.ts";
import {
  baseDirectoryOf,
  type ExportBase,
  type ExportRequest,
  exportPlanText,
  planExport,
} from "./core/export-plan.ts";
import type { OpenCommit } from "./reader.ts";

export interface ExportOrder {
  readonly open: OpenCommit;
  readonly commit: string;
  /** Absolute path of the run's folder, for the child. */
  readonly runDirectory: string;
  readonly outputDirectory: string;
  readonly request: ExportRequest;
  /** Python interpreter that can import shardwright_trainer. */
  readonly python: string;
  readonly pythonPath: string;
  readonly signal: AbortSignal;
}

/** Bytes written so far, or the finished export. */
export type ExportEvent =
  | { readonly kind: "progress"; readonly bytesDone: number; readonly bytesTotal: number }
  | { readonly kind: "done"; readonly bytesTotal: number; readonly location: string };

/** What export.json promises of each file. */
interface ExportReceipt {
  readonly source: JsonObject;
  readonly format: string;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

const RECEIPT = "export.json";
/** A config.json of a model is a few KB. */
const CONFIG_BYTES_MAX = 16 * 1024 * 1024;
/** The end of what a failed child said. */
const STDERR_CHARS_MAX = 4_000;

/**
 * Writes an export beside its place, re-reads it, and moves it there with one rename: at no moment is half an
 * export visible. One that is complete and of the same commit and format is left alone.
 */
export async function* exportCommit(order: ExportOrder): AsyncGenerator<ExportEvent, void, void> {
  const output = order.outputDirectory;
  if (!isAbsolute(output))
    throw new Fault("invalid", `output_directory: "${output}" is not an absolute path`);
  // 1. Is it there already?
  const found = await standing(output, order);
  if (found !== null) {
    yield { kind: "done", bytesTotal: found, location: `file://${output}` };
    return;
  }
  // 2. What is to be written.
  const temporary = join(dirname(output), `.tmp-export-${basename(output)}-${randomUUID()}`);
  const plan = await makePlan(order, temporary);
  try {
    // 3. A child writes it.
    await mkdir(temporary, { recursive: true });
    const planPath = `${temporary}.plan.json`;
    await writeFile(planPath, plan, { flag: "wx" });
    try {
      yield* runChild(order, planPath);
    } finally {
      await rm(planPath, { force: true });
    }
    // 4. Read it back, then show it.
    const receipt = await readReceipt(temporary);
    if (receipt === null) throw new Fault("internal", `export: the writer left no ${RECEIPT}`);
    const bytesTotal = await verifyFiles(temporary, receipt);
    await place(temporary, output);
    yield { kind: "done", bytesTotal, location: `file://${output}` };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function makePlan(order: ExportOrder, temporary: string): Promise<string> {
  const { open, request, commit, runDirectory } = order;
  const base = await readBase(open);
  const places = { runDirectory, outputDirectory: temporary, commit };
  const plan = planExport({ record: open.record, schema: open.schema, request }, base, places);
  if (!plan.ok) throw new Fault("conflict", `${plan.problem.code}: ${plan.problem.sentence}`);
  return exportPlanText(plan.value);
}

async function readBase(open: OpenCommit): Promise<ExportBase | null> {
  const found = baseDirectoryOf(open.record);
  if (found === null) return null;
  const path = join(found.directory, "config.json");
  try {
    if ((await stat(path)).size > CONFIG_BYTES_MAX) throw new Error("too large");
    return { ...found, config: JSON.parse(await readFile(path, "utf8")) as Json };
  } catch (reason) {
    throw new Fault(
      "conflict",
      `SWC_BASE_MISSING: base ${found.directory}: config.json cannot be read (${String(reason)})`,
      { cause: reason },
    );
  }
}

/** Bytes of an export that is complete already, null when there is none; a folder with other things is refused. */
async function standing(output: string, { request, commit }: ExportOrder): Promise<number | null> {
  const names = await readdir(output).catch((reason: NodeJS.ErrnoException) => {
    if (reason.code === "ENOENT") return [];
    throw new Fault("invalid", `output_directory: ${output}: ${reason.message}`, { cause: reason });
  });
  if (names.length === 0) return null;
  const receipt = await readReceipt(output);
  const same =
    receipt !== null &&
    receipt.source["commit"] === commit &&
    receipt.format === request.format &&
    receipt.source["merge"] === request.merge &&
    receipt.source["dtype"] === request.dtype;
  if (same) {
    try {
      return await verifyFiles(output, receipt);
    } catch (reason) {
      throw new Fault(
        "conflict",
        `output_directory: ${output} holds this export, damaged: ${String(reason)}`,
        { cause: reason },
      );
    }
  }
  throw new Fault(
    "conflict",
    `output_directory: ${output} is not empty and does not hold this export; name another`,
  );
}

async function readReceipt(folder: string): Promise<ExportReceipt | null> {
  const text = await readFile(join(folder, RECEIPT), "utf8").catch(() => null);
  const parsed = text === null ? null : parseCanonical(text);
  if (parsed?.ok !== true || !isObject(parsed.value)) return null;
  const { source, format, files } = parsed.value;
  if (!isObject(source) || typeof format !== "string" || !isObject(files)) return null;
  return { source, format, files: files as unknown as ExportReceipt["files"] };
}

/** Re-opens every file and compares size and digest; returns the bytes of all. */
async function verifyFiles(folder: string, receipt: ExportReceipt): Promise<number> {
  let total = 0;
  for (const [name, expected] of Object.entries(receipt.files)) {
    const found = await digestFile(join(folder, name));
    if (found.bytes !== expected.bytes || found.sha256 !== expected.sha256) {
      throw new Fault("internal", `export: ${name}: ${found.sha256}, expected ${expected.sha256}`);
    }
    total += found.bytes;
  }
  return total;
}

async function digestFile(
  path: string,
): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const handle = await open(path);
  for await (const chunk of handle.createReadStream({ highWaterMark: 1024 * 1024 })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: `sha256:${hash.digest("hex")}` };
}

/** One rename, durable before it is announced. An empty folder in the way is replaced. */
async function place(temporary: string, output: string): Promise<void> {
  await rename(temporary, output);
  const parent = await open(dirname(output), "r");
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

async function* runChild(
  order: ExportOrder,
  planPath: string,
): AsyncGenerator<ExportEvent, void, void> {
  const child = spawn(
    order.python,
    ["-m", "shardwright_trainer.files.export", "--plan", planPath],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PYTHONPATH: order.pythonPath, OMP_NUM_THREADS: "1" },
    },
  );
  const stop = (): void => void child.kill("SIGTERM");
  order.signal.addEventListener("abort", stop, { once: true });
  try {
    const ended = exitOf(child);
    const said = endOf(child);
    let refusal: JsonObject | null = null;
    for await (const line of createInterface({ input: child.stdout })) {
      const event = eventOf(line);
      if (event?.["kind"] === "refused") refusal = event;
      if (event?.["kind"] !== "progress") continue;
      yield {
        kind: "progress",
        bytesDone: Number(event["bytes_done"]),
        bytesTotal: Number(event["bytes_total"]),
      };
    }
    const status = await ended;
    if (refusal !== null) throw new Fault("conflict", `${refusal["code"]}: ${refusal["sentence"]}`);
    if (order.signal.aborted)
      throw new Fault("unavailable", "export: stopped before it was finished");
    if (status !== 0)
      throw new Fault("internal", `export: the writer ended with ${status}: ${said()}`);
  } finally {
    order.signal.removeEventListener("abort", stop);
    if (child.exitCode === null) child.kill("SIGKILL");
  }
}

function exitOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown"));
  });
}

function endOf(child: ChildProcess): () => string {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-STDERR_CHARS_MAX);
  });
  return () => text.trim();
}

function eventOf(line: string): JsonObject | null {
  try {
    const value = JSON.parse(line) as Json;
    return isObject(value) ? value : null;
  } catch {
    return null; // a library printed something
  }
}
