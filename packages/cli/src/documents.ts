import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, extname, join, resolve } from "node:path";
import { DOCUMENT_BYTES_MAX } from "@shardwright/job/limits";
import { EXIT, Refusal } from "./exit.ts";
import { type Io, textOf } from "./io.ts";

/** One document as it was written, with its relative `file://./…` sources made absolute. */
export interface SourceDocument {
  /** `job.yaml`, `jobs.yaml#2`, `standard input`. */
  readonly origin: string;
  readonly value: unknown;
}

const EXTENSIONS = new Set([".yaml", ".yml", ".json"]);
// Job files of one directory; more is a data directory named by mistake.
const FILES_MAX = 200;

/** Reads every document of files, directories (not their sub-directories) and `-`. Throws one Refusal with every problem. */
export async function readDocuments(
  names: readonly string[],
  io: Pick<Io, "cwd" | "readStdin">,
): Promise<readonly SourceDocument[]> {
  const { parseDocuments } = await import("./yaml-documents.ts");
  const documents: SourceDocument[] = [];
  const problems: string[] = [];
  for (const source of await sourcesOf(names, io)) {
    const parsed = parseDocuments(source.text);
    if (!parsed.ok) {
      problems.push(...parsed.problems.map((problem) => `${source.origin}: ${problem}`));
      continue;
    }
    parsed.documents.forEach((value, index) => {
      const origin = parsed.documents.length > 1 ? `${source.origin}#${index + 1}` : source.origin;
      documents.push({ origin, value: withAbsoluteSources(value, source.folder) });
    });
  }
  if (problems.length > 0)
    throw new Refusal(EXIT.usage, "cannot read the job file", { why: problems });
  if (documents.length === 0) {
    throw new Refusal(EXIT.usage, `no documents in ${names.join(", ")}`, {
      why: "expected .yaml, .yml or .json",
    });
  }
  return documents;
}

interface Source {
  readonly origin: string;
  /** What `file://./` is relative to. */
  readonly folder: string;
  readonly text: string;
}

async function sourcesOf(
  names: readonly string[],
  io: Pick<Io, "cwd" | "readStdin">,
): Promise<readonly Source[]> {
  const sources: Source[] = [];
  for (const name of names) {
    // It would mean the working directory and whatever lies there.
    if (name === "") throw new Refusal(EXIT.usage, "cannot read a file without a name");
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(name)) {
      throw new Refusal(EXIT.usage, `${name}: a URL is not fetched`, {
        next: "download it, look at it, then apply the file",
      });
    }
    if (name === "-") {
      const text = await io.readStdin(DOCUMENT_BYTES_MAX);
      sources.push({ origin: "standard input", folder: io.cwd, text });
      continue;
    }
    for (const path of await filesOf(name, resolve(io.cwd, name))) sources.push(await read(path));
  }
  return sources;
}

interface FilePath {
  readonly origin: string;
  readonly path: string;
}

async function filesOf(name: string, path: string): Promise<readonly FilePath[]> {
  const about = await stat(path).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "ENOENT" ? "no such file or directory" : error.message;
    throw new Refusal(EXIT.usage, `cannot read ${name}`, { why });
  });
  if (!about.isDirectory()) return [{ origin: name, path }];
  const entries = (await readdir(path)).filter((entry) => EXTENSIONS.has(extname(entry))).sort();
  if (entries.length > FILES_MAX) {
    throw new Refusal(
      EXIT.usage,
      `${name} holds ${entries.length} job files; at most ${FILES_MAX} are read`,
    );
  }
  return entries.map((entry) => ({ origin: join(name, entry), path: join(path, entry) }));
}

async function read({ origin, path }: FilePath): Promise<Source> {
  const parts: Buffer[] = [];
  try {
    // Pipes and devices do not say how large they are: one byte more than allowed is read, never more.
    const stream = createReadStream(path, { end: DOCUMENT_BYTES_MAX });
    for await (const part of stream) parts.push(part as Buffer);
  } catch (error) {
    throw new Refusal(EXIT.usage, `cannot read ${origin}`, { why: (error as Error).message });
  }
  const bytes = Buffer.concat(parts);
  if (bytes.length > DOCUMENT_BYTES_MAX) {
    throw new Refusal(
      EXIT.usage,
      `${origin} is too large; a job file has at most ${DOCUMENT_BYTES_MAX} bytes`,
    );
  }
  return { origin, folder: dirname(path), text: textOf(bytes, origin) };
}

const RELATIVE = /^file:\/\/(\.{1,2}(\/.*)?)$/s;

/** `file://./x` and `file://../x` anywhere in the document become absolute, from the folder of its file. */
export function withAbsoluteSources(value: unknown, folder: string): unknown {
  if (typeof value === "string") {
    const relative = RELATIVE.exec(value)?.[1];
    return relative === undefined ? value : `file://${resolve(folder, relative)}`;
  }
  if (Array.isArray(value)) return value.map((item) => withAbsoluteSources(item, folder));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withAbsoluteSources(item, folder)]),
  );
}
