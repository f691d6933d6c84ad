import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@shardwright/service/clock";
import { afterEach, beforeEach, expect, test } from "vitest";
import { followLogs, type LogLine, type LogQuery, readLogs } from "./logs.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-logs-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const at = (second: number, msg: string, more: object = {}): string =>
  `${JSON.stringify({ time: new Date(second * 1000).toISOString(), level: "info", msg, ...more })}\n`;

async function collect(query: Partial<LogQuery> = {}): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of readLogs({
    directory,
    member: "",
    rank: null,
    tailLines: 0,
    ...query,
  })) {
    lines.push(line);
  }
  return lines;
}
const texts = (lines: readonly LogLine[]): string[] => lines.map((line) => line.text);

test("merges the files of all members by time; a plain line goes with the line before it", async () => {
  writeFileSync(join(directory, "m0.1.log"), at(1, "a") + at(4, "d", { rank: 0, generation: 2 }));
  writeFileSync(join(directory, "m1.1.log"), `${at(2, "b")}Traceback\n${at(3, "c", { step: 7 })}`);
  writeFileSync(join(directory, "notes.txt"), "not ours\n");
  const lines = await collect();
  expect(texts(lines)).toEqual(["a", "b", "Traceback", "c step=7", "d"]);
  expect(lines[2]).toMatchObject({ timeMs: 2000, member: "m1", rank: null });
  expect(lines[4]).toMatchObject({ member: "m0", rank: 0, generation: 2, level: "info" });
});

test("filters by member and rank", async () => {
  writeFileSync(join(directory, "m0.1.log"), at(1, "a", { rank: 0 }) + at(2, "b", { rank: 1 }));
  writeFileSync(join(directory, "m1.1.log"), at(1, "c", { rank: 2 }));
  expect(texts(await collect({ member: "m0" }))).toEqual(["a", "b"]);
  expect(texts(await collect({ rank: 1 }))).toEqual(["b"]);
  expect(texts(await collect({ member: "../m0" }))).toEqual([]);
});

test("a tail is the last lines of all files together, over many read buffers", async () => {
  const many = Array.from({ length: 5_000 }, (_, i) => at(2 * i, `even ${i} ${"x".repeat(50)}`));
  const odd = Array.from({ length: 5_000 }, (_, i) => at(2 * i + 1, `odd ${i} ${"y".repeat(50)}`));
  writeFileSync(join(directory, "m0.1.log"), many.join(""));
  writeFileSync(join(directory, "m1.1.log"), odd.join(""));
  const tail = await collect({ tailLines: 3 });
  expect(texts(tail).map((text) => text.slice(0, 9))).toEqual([
    "odd 4998 ",
    "even 4999",
    "odd 4999 ",
  ]);
  expect(await collect({ tailLines: 10_000 })).toHaveLength(10_000);
  expect(await collect({ tailLines: 1 })).toHaveLength(1);
  expect(await collect()).toHaveLength(10_000);
});

test("an overlong line is cut, and the line after it is whole", async () => {
  writeFileSync(join(directory, "m0.1.log"), `${"z".repeat(300_000)}\nafter\n`);
  const lines = await collect();
  expect(lines).toHaveLength(2);
  expect(lines[0]?.text.length).toBeLessThan(70_000);
  expect(lines[1]?.text).toBe("after");
});

test("nothing yet is no error", async () => {
  expect(await collect({ directory: join(directory, "absent") })).toEqual([]);
});

test("follows growth, half lines and new files until the job is over", async () => {
  const logs = join(directory, "late");
  let over = false;
  const seen: string[] = [];
  const follow = followLogs(
    { directory: logs, member: "", rank: null, tailLines: 1 },
    { clock: systemClock, signal: new AbortController().signal, isOver: async () => over },
  );
  const reading = (async () => {
    for await (const line of follow) seen.push(line.text);
  })();
  mkdirSync(logs);
  writeFileSync(join(logs, "m0.1.log"), "one\ntw");
  await expect.poll(() => seen).toEqual(["one"]);
  appendFileSync(join(logs, "m0.1.log"), "o\n");
  writeFileSync(join(logs, "m0.2.log"), "three\nfour\n");
  await expect.poll(() => seen).toEqual(["one", "two", "three", "four"]);
  appendFileSync(join(logs, "m0.2.log"), "five\n");
  over = true;
  await reading;
  expect(seen.at(-1)).toBe("five");
});

test("a follower that is told to go ends", async () => {
  const controller = new AbortController();
  const follow = followLogs(
    { directory, member: "", rank: null, tailLines: 0 },
    { clock: systemClock, signal: controller.signal, isOver: async () => false },
  );
  setTimeout(() => controller.abort(), 20);
  for await (const _ of follow);
});
