import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A model that must be refused at submit; `mentions` is the file or field that the answer names, and why. */
export interface ModelCase {
  readonly name: string;
  readonly mentions: readonly string[];
  /** What spec.model.source names, inside the case's own folder; the folder itself when there is none. */
  readonly source?: string;
  /** Changes a copy of the good tiny model in `folder`. */
  readonly spoil: (folder: string) => void;
  /** Runs only where file modes hold: root reads everything. */
  readonly needsModes?: boolean;
}

export const WEIGHTS = "model.safetensors";
export type Json = Record<string, unknown>;

export function edit(folder: string, file: string, change: (value: Json) => Json): void {
  const path = join(folder, file);
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Json)));
}

export const config =
  (change: Json) =>
  (folder: string): void =>
    edit(folder, "config.json", (value) => ({ ...value, ...change }));

export const put =
  (file: string, content: string | Buffer) =>
  (folder: string): void =>
    writeFileSync(join(folder, file), content);

export const remove =
  (...files: string[]) =>
  (folder: string): void => {
    for (const file of files) rmSync(join(folder, file));
  };

/** A pipe nobody writes into: who opens it without looking waits for ever. */
export const pipe =
  (file: string) =>
  (folder: string): void => {
    rmSync(join(folder, file), { force: true });
    execFileSync("mkfifo", [join(folder, file)]);
  };

export const link =
  (file: string, target: string) =>
  (folder: string): void => {
    rmSync(join(folder, file), { force: true });
    symlinkSync(target, join(folder, file));
  };

function safetensors(header: string | object, dataBytes: number): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

export const tensor = (begin: number, end: number, more: Json = {}): Json => ({
  dtype: "F32",
  shape: [(end - begin) / 4],
  data_offsets: [begin, end],
  ...more,
});
export const hostile = (header: string | object, dataBytes: number) =>
  put(WEIGHTS, safetensors(header, dataBytes));

export function gguf(rest: Buffer): Buffer {
  const start = Buffer.from("GGUF\x03\x00\x00\x00", "latin1");
  return Buffer.concat([start, rest]);
}
export const huge = Buffer.alloc(16, 0xff);

/** The HTML page that a failed download leaves behind. */
export const PAGE = "<!DOCTYPE html><html><body>404</body></html>";
/** Protocol 4 pickle of an object that would call os.system. */
export const PICKLE = Buffer.from("80048c026f738c0673797374656d938c0474727565855294302e", "hex");

/** A copy of the good model in a folder of its own, spoilt; returns what spec.model.source names. */
export function spoilt(
  good: string,
  place: string,
  one: {
    readonly name: string;
    readonly source?: string;
    readonly spoil: (folder: string) => void;
  },
): string {
  const folder = join(place, one.name);
  cpSync(good, folder, { recursive: true });
  one.spoil(folder);
  return one.source === undefined ? folder : join(folder, one.source);
}
