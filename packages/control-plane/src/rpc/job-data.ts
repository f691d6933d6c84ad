import { type FileHandle, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Complaint, type DataSource, type DataSpec, pathOfSource } from "@shardwright/job";
import { containerOf } from "@shardwright/job/data-rows";
import { type DatasetReport, makeDatasetChecker } from "@shardwright/job/dataset";
import { readTextLines } from "@shardwright/service/text-lines";

/** What a look at the data files tells before a job is stored. */
export interface DataReading {
  readonly complaints: readonly Complaint[];
  readonly warnings: readonly string[];
}

// Uploads of the API have the same bound; larger sets are prepared outside.
const FILE_BYTES_MAX = 8 * 1024 ** 3;
const PARTS = ["train", "validation", "test"] as const;
type PartName = (typeof PARTS)[number];
/** Names of the files of an MLX folder. */
const MLX_FILES = { train: "train.jsonl", validation: "valid.jsonl", test: "test.jsonl" } as const;

const BINARY: readonly (readonly [string, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zip", [0x50, 0x4b, 0x03, 0x04]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["Parquet", [0x50, 0x41, 0x52, 0x31]],
];

/** Reads every data file of the job once, line by line in bounded memory; all problems with file and line. */
export async function checkData(data: DataSpec): Promise<DataReading> {
  const complaints: Complaint[] = [];
  const warnings: string[] = [];
  let trainFingerprints: ReadonlyMap<string, number> = new Map();
  for (const part of PARTS) {
    const source = data[part];
    if (source === null) continue;
    const found = await locate(part, source);
    if ("problem" in found) {
      complaints.push({ path: `spec.data.${part}.source`, problem: found.problem });
      continue;
    }
    const report = await checkFile(found, { part, source, data, trainFingerprints });
    if (part === "train") trainFingerprints = report.fingerprints;
    for (const { severity, line, message, hint } of report.problems) {
      if (severity === "warning") warnings.push(`${found.path}: ${message}`);
      else complaints.push({ path: where(found.path, line), problem: `${message}; ${hint}` });
    }
    if (report.more !== null && !report.ok)
      complaints.push({ path: found.path, problem: report.more });
  }
  return { complaints, warnings };
}

function where(path: string, line: number | null): string {
  return line === null ? path : `${path} line ${line}`;
}

interface Located {
  readonly path: string;
  readonly isMlx: boolean;
  readonly container: NonNullable<ReturnType<typeof containerOf>>;
}

async function locate(
  part: PartName,
  source: DataSource,
): Promise<Located | { readonly problem: string }> {
  const given = pathOfSource(source.source);
  const isFolder = (await stat(given).catch(() => undefined))?.isDirectory() ?? false;
  const path = isFolder ? join(given, MLX_FILES[part]) : given;
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return { problem: `${path} does not exist or cannot be read` };
  if (!facts.isFile()) return { problem: `${path} is no regular file` };
  if (facts.size > FILE_BYTES_MAX) {
    return { problem: `${path} has ${facts.size} bytes, at most ${FILE_BYTES_MAX} are allowed` };
  }
  const container = containerOf(path);
  if (container === null) {
    return { problem: `${path} must end in .jsonl, .json, .csv, .tsv, .txt or .md` };
  }
  const binary = await binaryFormatOf(path);
  if (binary !== undefined)
    return { problem: `${path} is ${binary}, which is not read; unpack it first` };
  return { path, isMlx: isFolder, container };
}

async function checkFile(
  { path, isMlx, container }: Located,
  about: {
    readonly part: PartName;
    readonly source: DataSource;
    readonly data: DataSpec;
    readonly trainFingerprints: ReadonlyMap<string, number>;
  },
): Promise<DatasetReport> {
  const { part, source, data, trainFingerprints } = about;
  const checker = makeDatasetChecker({
    container,
    isMlx,
    part,
    format: data.format,
    map: data.map,
    allowSmall: data.allowSmall,
    rowsMax: source.rowsMax,
    trainFingerprints,
  });
  for await (const line of readTextLines(path)) {
    if ("text" in line) checker.line(line.text, line.number);
    else checker.undecodable(line.number, line.badColumn);
  }
  return checker.end();
}

async function binaryFormatOf(path: string): Promise<string | undefined> {
  const file: FileHandle = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
    const start = buffer.subarray(0, bytesRead);
    return BINARY.find(([, magic]) => magic.every((byte, i) => start[i] === byte))?.[0];
  } finally {
    await file.close();
  }
}
