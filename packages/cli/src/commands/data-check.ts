import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { containerOf } from "@shardwright/job/data-rows";
import { type DatasetReport, makeDatasetChecker } from "@shardwright/job/dataset";
import type { DataFormat } from "@shardwright/job/spec";
import { binaryFormatOf, readTextLines } from "@shardwright/service/text-lines";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { printObject } from "../output.ts";
import { visible } from "../render/escape.ts";

/** Reads a training file once, in bounded memory; prints every problem with its line. Errors end with 2. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { flags, io } = call;
  const name = call.args[0] ?? "";
  const path = resolve(io.cwd, name);
  await refuseWhatIsNoText(path, name);
  const container = containerOf(name);
  if (container === null) {
    throw new Refusal(EXIT.usage, `${name}: what kind of file is it?`, {
      why: "expected a name that ends in .jsonl, .json, .csv, .tsv, .txt or .md",
    });
  }
  const checker = makeDatasetChecker({
    container,
    format: (flags.text("format") ?? "auto") as DataFormat,
    map: mapOf(flags.list("map")),
    isMlx: false,
    allowSmall: flags.on("allow-small"),
  });
  for await (const line of readTextLines(path)) {
    if ("text" in line) checker.line(line.text, line.number);
    else checker.undecodable(line.number, line.badColumn);
  }
  const report = checker.end();
  await printObject(asObject(report), call, () => asText(name, report));
  return report.ok ? EXIT.done : EXIT.usage;
}

async function refuseWhatIsNoText(path: string, name: string): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Refusal(EXIT.usage, `cannot read ${name}`, {
      why: code === "ENOENT" ? "no such file" : message,
    });
  }
  try {
    if ((await file.stat()).isDirectory()) {
      throw new Refusal(EXIT.usage, `${name} is a directory`, {
        next: "check its files one by one",
      });
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
    const binary = binaryFormatOf(buffer.subarray(0, bytesRead));
    if (binary === null) return;
    throw new Refusal(EXIT.usage, `${name} is ${binary}, which is not read`, {
      next: "unpack it, or write the rows as JSON lines",
    });
  } finally {
    await file.close();
  }
}

/** `--map input=Question` → {input: "Question"}. */
function mapOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, role, column] = /^([a-z]+)=(.+)$/s.exec(pair) ?? [];
      if (role === undefined || column === undefined) {
        throw new Refusal(
          EXIT.usage,
          `--map ${pair}: expected ROLE=COLUMN, such as input=Question`,
        );
      }
      return [role, column];
    }),
  );
}

function asObject(report: DatasetReport): Readonly<Record<string, unknown>> {
  const { ok, shape, examples, problems, errorsCount, warningsCount, statistics } = report;
  return { ok, shape, examples, errorsCount, warningsCount, problems, statistics };
}

function asText(name: string, report: DatasetReport): string {
  const { problems, more, examples, shape, errorsCount, warningsCount } = report;
  const lines = problems.map(({ severity, code, line, message, hint }) => {
    const where = line === null ? "" : ` line ${line}:`;
    return `${severity}:${where} ${visible(message)} (${code})\n    ${hint}\n`;
  });
  if (more !== null) lines.push(`${more}\n`);
  const verdict = errorsCount === 0 ? "fit to train on" : "NOT fit to train on";
  lines.push(
    `${visible(name)}: ${examples} examples of shape ${shape ?? "unknown"}, ${errorsCount} errors, ${warningsCount} warnings: ${verdict}\n`,
  );
  return lines.join("");
}
