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
// A shard index names every tensor: some megabytes for the largest.
const INDEX_BYTES_MAX = 64 * 1024 * 1024;
const INDEX = "model.safetensors.index.json";
// The only form the trainer reads.
const TOKENIZER = "tokenizer.json";
const FIELD = "spec.model.source";

/** Checks a Hugging Face directory (safetensors only) or one .gguf file without loading any weight. */
export async function readModel(path: string): Promise<ModelReading> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return refuse(FIELD, `${path} does not exist or cannot be read`);
  if (facts.isDirectory()) return await readDirectory(path);
  if (!path.endsWith(".gguf")) {
    return refuse(FIELD, `${path} is neither a folder with config.json nor a .gguf file`);
  }
  const reading = await withFile(path, readGguf);
  if (typeof reading === "string") return refuse(path, reading);
  return reading.ok
    ? { ok: true, config: reading.config, configPath: path }
    : refuse(path, reading.problem);
}

function refuse(path: string, problem: string): ModelReading {
  return { ok: false, complaints: [{ path, problem }] };
}

async function readDirectory(path: string): Promise<ModelReading> {
  const names = await readdir(path).catch(() => null);
  if (names === null) return refuse(FIELD, `${path} cannot be read`);
  if (names.length > FILES_MAX)
    return refuse(path, `has ${names.length} files, expected one model`);
  const complaints: Complaint[] = [];
  const configPath = join(path, "config.json");
  const config = await readConfig(configPath, complaints);
  if (!names.includes(TOKENIZER)) {
    const problem = `has no ${TOKENIZER}; load and save the tokenizer with transformers, which writes it`;
    complaints.push({ path, problem });
  }
  if (names.includes(INDEX)) await checkIndex(path, names, complaints);
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
  const config = await readJsonFile(path, CONFIG_BYTES_MAX, complaints);
  if (typeof config === "object" && config !== null && "auto_map" in config) {
    const problem = "has auto_map: it wants code from the model folder, which is never run";
    complaints.push({ path, problem });
  }
  return config;
}

/** Every shard that the index names must be there, in this folder. */
async function checkIndex(
  folder: string,
  names: readonly string[],
  complaints: Complaint[],
): Promise<void> {
  const path = join(folder, INDEX);
  const index = await readJsonFile(path, INDEX_BYTES_MAX, complaints);
  if (index === undefined) return;
  const map = (index as { readonly weight_map?: unknown } | null)?.weight_map;
  const shards = typeof map === "object" && map !== null ? new Set(Object.values(map)) : new Set();
  const strange = [...shards].find((shard) => typeof shard !== "string");
  if (shards.size === 0 || strange !== undefined) {
    complaints.push({ path, problem: "weight_map must map tensor names to file names" });
    return;
  }
  const missing = ([...shards] as string[]).find((shard) => !names.includes(shard));
  if (missing === undefined) return;
  const problem = `names ${JSON.stringify(missing.slice(0, 80))}, which is not in the folder`;
  complaints.push({ path, problem });
}

/** The value of a small JSON file; undefined, and a complaint, when there is none. */
async function readJsonFile(
  path: string,
  bytesMax: number,
  complaints: Complaint[],
): Promise<unknown> {
  const complain = (problem: string): undefined => {
    complaints.push({ path, problem });
    return undefined;
  };
  const text = await withFile(path, async (file) => {
    const { size } = await file.stat();
    if (size > bytesMax) return `has ${size} bytes, at most ${bytesMax} are allowed`;
    return { text: await file.readFile("utf8") };
  });
  if (typeof text === "string") return complain(text);
  try {
    return JSON.parse(text.text) as unknown;
  } catch {
    // Without the parser's words: they quote a file that a link may have put there.
    return complain("is not JSON");
  }
}

/**
 * What `work` answers, or what keeps the file from being read. Links are followed, as caches are made of them;
 * pipes and devices are never opened: they would hold a thread, or never end.
 */
async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>) {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return "does not exist or cannot be read";
  if (!facts.isFile()) return "is no regular file";
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return "cannot be read";
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
