import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@shardwright/service/clock";
import { afterEach, beforeEach, expect, test } from "vitest";
import { stopProcess } from "./local-process.ts";
import { asLocalMachine, measureMachine } from "./machine.ts";
import { ensureRendezvousStore, type RendezvousOptions } from "./rendezvous-store.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-store-"));
  writeFileSync(join(directory, "store.mjs"), STORE);
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A stand-in with the same command line: listens, then writes the ready file. */
const STORE = `import { createServer } from "node:net";
import { renameSync, writeFileSync } from "node:fs";
const path = process.argv[process.argv.indexOf("--ready-file") + 1];
const server = createServer().listen(0, "127.0.0.1", () => {
  writeFileSync(path + ".new", JSON.stringify({ pid: process.pid, port: server.address().port }));
  renameSync(path + ".new", path);
});`;

const options = (command?: [string, ...string[]]): RendezvousOptions => ({
  dataDirectory: directory,
  command: command ?? [process.execPath, join(directory, "store.mjs")],
  environment: {},
  clock: systemClock,
});

test("starts one store per data directory, finds it again, and starts anew when it is gone", async () => {
  const first = await ensureRendezvousStore(options());
  const second = await ensureRendezvousStore(options());
  expect(second.process.identity).toEqual(first.process.identity);
  expect(second.port).toBe(first.port);
  // Killed between its start and our record: found by its arguments.
  rmSync(join(directory, "store.process.json"));
  expect((await ensureRendezvousStore(options())).process.identity).toEqual(first.process.identity);

  await stopProcess(first.process, systemClock, 1_000);
  const third = await ensureRendezvousStore(options());
  expect(third.process.identity).not.toEqual(first.process.identity);
  await stopProcess(third.process, systemClock, 1_000);
});

test("a store that ends at once is an error that says where to look", async () => {
  await expect(
    ensureRendezvousStore(options([process.execPath, "-e", "process.exit(1)", "--"])),
  ).rejects.toThrow("ended before it was ready; see store.log");
});

test("this machine has cores and memory, and limits only make it smaller", () => {
  const facts = measureMachine();
  const machine = asLocalMachine(facts, { ranksMax: null, memoryBytesMax: null });
  expect(machine.slots).toBeGreaterThan(0);
  expect(machine.memoryBytes).toBeLessThan(facts.memoryBytes);
  expect(machine.memoryBytes).toBeGreaterThanOrEqual(facts.memoryBytes / 2);
  expect(asLocalMachine(facts, { ranksMax: 3, memoryBytesMax: 1_000 })).toMatchObject({
    slots: 3,
    memoryBytes: 1_000,
  });
});
