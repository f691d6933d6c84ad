// The journal's suite on every adapter, on a real PostgreSQL where this machine has one.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createMemoryJournal } from "../../packages/control-plane/src/store/memory.ts";
import { openPostgresJournal } from "../../packages/control-plane/src/store/postgres.ts";
import { openSqliteJournal } from "../../packages/control-plane/src/store/sqlite.ts";
import { findPostgres, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { training } from "../support/training-job.ts";
import { journalContract, newJob } from "./store-suite.ts";

journalContract("memory", async () => ({
  open: async (now) => createMemoryJournal(now),
  clean: async () => undefined,
  isDurable: false,
}));

journalContract("SQLite", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shardwright-journal-"));
  const path = join(directory, "control-plane.sqlite");
  return {
    open: (now) => openSqliteJournal({ path, now }),
    clean: async () => rmSync(directory, { recursive: true }),
    isDurable: true,
  };
});

test("a journal that a newer release has written is refused, not touched", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shardwright-journal-"));
  const path = join(directory, "control-plane.sqlite");
  await (await openSqliteJournal({ path, now: Date.now })).close();
  const database = new DatabaseSync(path);
  database.exec("INSERT INTO migrations (number) VALUES (99)");
  database.close();
  await expect(openSqliteJournal({ path, now: Date.now })).rejects.toThrow(
    "the journal has schema 99, this release knows up to 3",
  );
  rmSync(directory, { recursive: true });
});

test("a step rewrites what changes with it, not what a job and its generation are", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shardwright-journal-"));
  const path = join(directory, "control-plane.sqlite");
  const journal = await openSqliteJournal({ path, now: Date.now });
  const job = newJob("steps");
  await journal.create(job, []);
  const state = { ...training(), uid: job.uid };
  if (state.phase !== "active") throw new Error("a job that trains is active");
  const save = async (expected: number, step: number): Promise<void> => {
    const saved = await journal.save({
      uid: job.uid,
      expect: expected,
      state: { ...state, live: { ...state.live, step } },
      status: job.status,
      finishedMs: null,
      events: [],
      generation: null,
    });
    expect(saved.saved).toBe(true);
  };
  await save(1, 1);
  const database = new DatabaseSync(path);
  database.exec("UPDATE jobs SET settled = 'as it was'");
  await save(2, 2);
  const row = database.prepare("SELECT state, settled FROM jobs").get();
  expect(row?.["settled"]).toBe("as it was");
  expect(String(row?.["state"])).toContain('"step":2');
  expect(String(row?.["state"])).not.toMatch(/"(blockMap|layout|spec|submittedPlan)"/);
  database.close();
  await journal.close();
  rmSync(directory, { recursive: true });
});

test("jobs of an earlier release: finished ones get empty books, unfinished ones are refused", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shardwright-journal-"));
  const path = join(directory, "control-plane.sqlite");
  const journal = await openSqliteJournal({ path, now: Date.now });
  const { ledger: _, tallies: __, measure: ___, ...status } = newJob("old").status;
  await journal.create({ ...newJob("old"), status: status as never }, []);
  await journal.close();
  const edit = (sql: string): void => {
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
  };
  edit("DELETE FROM migrations WHERE number >= 2; ALTER TABLE jobs DROP COLUMN settled");
  await expect(openSqliteJournal({ path, now: Date.now })).rejects.toThrow("unfinished jobs (old)");
  edit("UPDATE jobs SET is_final = 1");
  const reopened = await openSqliteJournal({ path, now: Date.now });
  const found = await reopened.find("default", "old");
  expect(found?.status).toEqual(newJob("old").status);
  await reopened.close();
  rmSync(directory, { recursive: true });
});

// A child is killed ten times in the middle of its write loop; each round starts a process.
test("SIGKILL in a write loop: what was acknowledged is there, and nothing is half there", async () => {
  const directory = mkdtempSync(join(tmpdir(), "shardwright-journal-"));
  const path = join(directory, "control-plane.sqlite");
  let acknowledged = 0;
  for (let round = 0; round < 10; round++) {
    acknowledged = Math.max(
      acknowledged,
      await writeUntilKilled(path, acknowledged, 40 + 13 * round),
    );
    const journal = await openSqliteJournal({ path, now: Date.now });
    const jobs = await journal.list({ tenant: "default", afterName: "", limit: 1_000_000 });
    expect(jobs.length).toBeGreaterThanOrEqual(acknowledged);
    const events = await journal.events({
      tenant: "default",
      jobName: null,
      afterSequence: 0,
      limit: 1_000_000,
    });
    // Each creation is one transaction of a job and two events.
    expect(events).toHaveLength(2 * jobs.length);
    expect(journal.sequence).toBe(3 * jobs.length);
    expect(jobs.map(({ revision }) => revision)).toEqual(jobs.map(() => 1));
    acknowledged = jobs.length;
    await journal.close();
    const database = new DatabaseSync(path);
    expect(database.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    database.close();
  }
  expect(acknowledged).toBeGreaterThan(100);
  rmSync(directory, { recursive: true });
}, 60_000);

/** Runs the writer from number `from` on, kills it `ms` after its first acknowledgement; the highest one. */
async function writeUntilKilled(path: string, from: number, ms: number): Promise<number> {
  const writer = fileURLToPath(new URL("../support/journal-writer.ts", import.meta.url));
  const child = spawn(process.execPath, [writer, path, String(from)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (piece: Buffer) => {
    if (text === "") setTimeout(() => child.kill("SIGKILL"), ms);
    text += piece.toString();
  });
  await new Promise((resolve) => child.once("close", resolve));
  const numbers = text.split("\n").slice(0, -1).map(Number);
  return Math.max(from, ...numbers);
}

const found = findPostgres();
if ("missing" in found) {
  test.skip(`journal on PostgreSQL: ${found.missing}`);
} else {
  describe("with a PostgreSQL server", () => {
    let server: PostgresServer;
    let databases = 0;
    // initdb and a server start take seconds on a busy machine.
    beforeAll(async () => {
      server = await startPostgres(found.bin);
    }, 60_000);
    afterAll(async () => server?.close());

    /** An empty database of its own. */
    async function freshUrl(): Promise<string> {
      databases += 1;
      const name = `journal_${databases}`;
      const client = new pg.Client(server.url);
      await client.connect();
      await client.query(`CREATE DATABASE ${name}`);
      await client.end();
      return server.url.replace(/\/postgres$/, `/${name}`);
    }

    journalContract("PostgreSQL", async () => {
      const url = await freshUrl();
      return {
        open: (now) => openPostgresJournal({ url, now }),
        clean: async () => undefined,
        isDurable: true,
      };
    });

    test("two processes' writers are serial: one name, one winner; sequences never clash", async () => {
      const url = await freshUrl();
      const journals = await Promise.all(
        [1, 2].map(() => openPostgresJournal({ url, now: Date.now })),
      );
      const results = await Promise.all(
        journals.flatMap((journal, at) =>
          Array.from({ length: 10 }, (_, i) =>
            journal.create(newJob(`job-${i}`, { createdMs: at + 1 }), []),
          ),
        ),
      );
      expect(results.filter((result) => result === "created")).toHaveLength(10);
      const jobs = await journals[0]?.list({ tenant: "default", afterName: "", limit: 50 });
      expect(new Set(jobs?.map(({ sequence }) => sequence)).size).toBe(10);
      for (const journal of journals) await journal.close();
    });

    test("a connection that the server cut is made again; the write in between fails and left nothing", async () => {
      const url = await freshUrl();
      const journal = await openPostgresJournal({ url, now: Date.now });
      await journal.create(newJob("before"), []);
      const client = new pg.Client(url);
      await client.connect();
      await client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
      );
      await client.end();
      let failures = 0;
      await expect
        .poll(() =>
          journal.create(newJob("after"), []).then(
            (result) => result,
            () => `failed ${++failures}`,
          ),
        )
        .toMatch(/created|exists/);
      expect(
        (await journal.list({ tenant: "default", afterName: "", limit: 9 })).map(
          ({ name }) => name,
        ),
      ).toEqual(["after", "before"]);
      await journal.close();
    });
  });
}
