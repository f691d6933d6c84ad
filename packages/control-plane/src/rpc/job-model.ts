import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Complaint } from "@shardwright/job";
import { readGguf } from "./job-gguf.ts";
import { problemOfSafetensors } from "./job-safetensors.ts";

/** What planning learns from a model's files; complaints carry the path of the file that is wrong. */
export type ModelReading =
  | { readonly ok: true; readonly config: unknown; readonly configPath: string }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

// Configurations are a few kilobytes.
const CONFIG_BYTES_MAX = 1024 * 1024;
// Shards of the largest published models; more files than this are not one model.
const FILES_MAX = 10_000;
const PICKLES = /\.(bin|pt|pth|pkl|pickle|pt2|ckpt|npy)$/i;
const TOKENIZERS = ["tokenizer.json", "tokenizer.model", "vocab.json"];
const FIELD = "spec.model.source";

/** Checks a Hugging Face directory (safetensors only) or one .gguf file without loading any weight. */
export async function readModel(path: string): Promise<ModelReading> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return refuse(FIELD, `${path} does not exist or cannot be read`);
  if (facts.isDirectory()) return await readDirectory(path);
  if (!path.endsWith(".gguf")) {
    return refuse(FIELD, `${path} is neither a folder with config.json nor a .gguf file`);
  }
  return await withFile(path, async (file) => {
    const reading = await readGguf(file);
    return reading.ok
      ? { ok: true, config: reading.config, configPath: path }
      : refuse(path, reading.problem);
  });
}

function refuse(path: string, problem: string): ModelReading {
  return { ok: false, complaints: [{ path, problem }] };
}

async function readDirectory(path: string): Promise<ModelReading> {
  const names = await readdir(path);
  if (names.length > FILES_MAX)
    return refuse(path, `has ${names.length} files, expected one model`);
  const complaints: Complaint[] = [];
  const configPath = join(path, "config.json");
  const config = await readConfig(configPath, complaints);
  if (!TOKENIZERS.some((name) => names.includes(name))) {
    complaints.push({
      path,
      problem: `has no tokenizer; expected one of ${TOKENIZERS.join(", ")}`,
    });
  }
  const weights = names.filter((name) => name.endsWith(".safetensors")).sort();
  if (weights.length === 0) complaints.push({ path, problem: noWeights(names) });
  for (const name of weights) {
    const file = join(path, name);
    const problem = await withFile(file, problemOfSafetensors);
    if (problem !== null) complaints.push({ path: file, problem });
  }
  return complaints.length > 0 ? { ok: false, complaints } : { ok: true, config, configPath };
}

/** Pickles run code when they are loaded: they are refused, not converted. */
function noWeights(names: readonly string[]): string {
  const pickle = names.find((name) => PICKLES.test(name));
  return pickle === undefined
    ? "has no .safetensors file with weights"
    : `has its weights in ${pickle}, a pickle, which is never loaded; convert it where you trust it, ` +
        "with save_pretrained(…, safe_serialization=True) of transformers";
}

async function readConfig(path: string, complaints: Complaint[]): Promise<unknown> {
  const complain = (problem: string): undefined => {
    complaints.push({ path, problem });
    return undefined;
  };
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return complain("does not exist or cannot be read");
  if (facts.size > CONFIG_BYTES_MAX) {
    return complain(`has ${facts.size} bytes, at most ${CONFIG_BYTES_MAX} are allowed`);
  }
  const text = await withFile(path, (file) => file.readFile("utf8"));
  try {
    return JSON.parse(text) as unknown;
  } catch (reason) {
    return complain(`is not JSON: ${(reason as Error).message}`);
  }
}

async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, "r");
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
