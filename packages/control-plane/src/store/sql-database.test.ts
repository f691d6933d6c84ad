import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { assertStorable, type SqlDatabase, type Value } from "./sql-database.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

let directory: string;
let database: SqlDatabase;
let waits: number[];
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-sql-"));
  waits = [];
  database = openSqliteDatabase(join(directory, "test.sqlite"), (seconds) => waits.push(seconds));
  await database.write((queries) => queries.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"));
  waits = [];
});
afterEach(async () => {
  await database.close();
  rmSync(directory, { recursive: true });
});

const insert = (id: number, v: Value = null) =>
  database.write((queries) => queries.run("INSERT INTO t (id, v) VALUES ($1, $2)", id, v));
const ids = async () =>
  (await database.committed.all("SELECT id FROM t ORDER BY id")).map(({ id }) => id);

test("writers of one turn share a commit; the refusal of one does not undo its neighbours", async () => {
  const results = await Promise.allSettled([insert(1), insert(2), insert(1), insert(3)]);
  expect(results.map(({ status }) => status)).toEqual([
    "fulfilled",
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  expect(await ids()).toEqual([1, 2, 3]);
  expect(waits).toHaveLength(3);
});

test("a work that throws half way leaves nothing, and its result is its own reason", async () => {
  const failing = database.write(async (queries) => {
    await queries.run("INSERT INTO t (id) VALUES (10)");
    throw new Error("changed my mind");
  });
  await expect(failing).rejects.toThrow("changed my mind");
  expect(await ids()).toEqual([]);
});

test("readers never see a transaction that is still open", async () => {
  let seen: readonly Value[] = [];
  await database.write(async (queries) => {
    await queries.run("INSERT INTO t (id) VALUES (1)");
    seen = (await database.committed.all("SELECT id FROM t")).map(({ id }) => id ?? null);
    expect(await queries.all("SELECT id FROM t")).toHaveLength(1);
  });
  expect(seen).toEqual([]);
  expect(await ids()).toEqual([1]);
});

test("a write sees every write that was acknowledged before it, in order", async () => {
  const counts = await Promise.all(
    Array.from({ length: 200 }, (_, id) =>
      database.write(async (queries) => {
        await queries.run("INSERT INTO t (id) VALUES ($1)", id);
        return (await queries.get("SELECT count(*) AS n FROM t"))?.["n"];
      }),
    ),
  );
  expect(counts).toEqual(Array.from({ length: 200 }, (_, id) => id + 1));
});

test("close writes what is waiting", async () => {
  const late = insert(5);
  await database.close();
  await late;
  database = openSqliteDatabase(join(directory, "test.sqlite"), () => undefined);
  expect(await ids()).toEqual([5]);
});

test.each([2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, undefined, 1n, true, new Date(0), {}])(
  "%s is not storable: it would be changed silently",
  (value) => {
    expect(() => assertStorable(value as Value)).toThrow();
  },
);

test.each([0, -1, 2 ** 53 - 1, 1.5, "", "text", null])("%s comes back as it was", async (value) => {
  await database.write((queries) =>
    queries.run("CREATE TABLE IF NOT EXISTS any_value (v ANY) STRICT"),
  );
  await database.write((queries) => queries.run("INSERT INTO any_value (v) VALUES ($1)", value));
  const rows = await database.committed.all("SELECT v FROM any_value");
  expect(rows.at(-1)?.["v"]).toBe(value);
});

test("the durability we promise is switched on", async () => {
  const mode = await database.committed.get("PRAGMA journal_mode");
  expect(mode?.["journal_mode"]).toBe("wal");
  const level = await database.write((queries) => queries.get("PRAGMA synchronous"));
  expect(level?.["synchronous"]).toBe(2);
});
