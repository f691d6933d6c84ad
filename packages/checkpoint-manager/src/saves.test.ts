import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  aBegin,
  aWorld,
  blocksOf,
  RUN,
  refOf,
  SALT,
  save,
  write,
} from "../../../test/support/checkpoint-run.ts";
import { stateBytes } from "../../../test/support/checkpoint-writer.ts";
import { commitKey } from "./core/commit-key.ts";
import { hashCommit } from "./hash.ts";
import { openCommit } from "./reader.ts";
import { verifyCommit } from "./verify.ts";

describe("a save", () => {
  it("is committed when the last writer has prepared, and reads back whole", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    expect(begun).toMatchObject({ decided: null, crcBlockBytes: 65_536 });
    const first = await write(world.store, begun, { writer: 0 });
    expect(await world.desk.prepared(refOf(begun), first)).toEqual({ status: "waiting" });
    const second = await write(world.store, begun, { writer: 1 });
    const answer = await world.desk.prepared(refOf(begun), second);
    expect(answer).toMatchObject({ status: "committed", bytes: first.bytes + second.bytes });
    const key = commitKey(begun.marker);
    expect(await verifyCommit(world.store, key, "full")).toMatchObject({ problems: [] });
    const open = await openCommit(world.store, key);
    expect(open.record).toMatchObject({ step: 10, parents: [], trigger: "periodic" });
    expect(open.record.state_digest).toMatch(/^sha256:/);
    expect(await world.store.size("tags/LATEST.json")).toBeGreaterThan(0);
  });

  it("hashes weights and state in flat order, whoever wrote them", async () => {
    const hex = (...parts: Uint8Array[]): string => {
      const hash = createHash("sha256");
      for (const part of parts) hash.update(part);
      return hash.digest("hex");
    };
    const step = Buffer.alloc(8);
    step.writeBigInt64LE(10n);
    const salt = SALT + 10;
    const expected = {
      weightsSha256: hex(stateBytes("master", 0, 300, salt)),
      stateSha256: hex(
        stateBytes("exp_avg", 0, 300, salt),
        stateBytes("exp_avg_sq", 0, 300, salt),
        step,
      ),
    };
    const digests = new Set<string | null>();
    for (const owners of [
      [0, 0, 0, 0, 0],
      [1, 0, 1, 0, 1],
      [4, 3, 2, 1, 0],
    ]) {
      const world = aWorld();
      const open = await openCommit(world.store, await save(world, { owners }));
      expect(await hashCommit(open)).toEqual(expected);
      digests.add(open.record.state_digest);
    }
    expect(digests.size).toBe(1);
  });

  it("answers the same however often it is begun, prepared or aborted", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    expect((await world.desk.begin(aBegin())).marker).toEqual(begun.marker);
    const one = await write(world.store, begun, { writer: 0 });
    const two = await write(world.store, begun, { writer: 1 });
    await world.desk.prepared(refOf(begun), one);
    await world.desk.prepared(refOf(begun), one);
    const committed = await world.desk.prepared(refOf(begun), two);
    expect(await world.desk.prepared(refOf(begun), two)).toEqual(committed);
    expect(await world.desk.abort(refOf(begun), { code: "late", sentence: "" })).toEqual(committed);
    expect((await world.desk.begin(aBegin())).decided).toEqual(committed);
  });

  it("goes on in another process from the folder alone", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    const one = await write(world.store, begun, { writer: 0 });
    await world.desk.prepared(refOf(begun), one);
    const restarted = aWorld(world.root);
    const two = await write(world.store, begun, { writer: 1 });
    expect(await restarted.desk.prepared(refOf(begun), two)).toEqual({ status: "waiting" });
    expect(await restarted.desk.prepared(refOf(begun), one)).toMatchObject({ status: "committed" });
    expect(await world.desk.prepared(refOf(begun), two)).toMatchObject({ status: "committed" });
  });

  it("refuses a writer that owns nothing and a message of another save", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    const one = await write(world.store, begun, { writer: 0 });
    await expect(world.desk.prepared(refOf(begun), { ...one, writer: 5 })).rejects.toThrow(
      /owns no block/,
    );
    const other = { ...refOf(begun), saveId: "6e0f7c1a-2b3c-4d5e-8f90-a1b2c3d4e5f6" };
    await expect(world.desk.prepared(other, one)).rejects.toThrow(/SWC_FENCED/);
    const none = { ...refOf(begun), save: { step: 99, generation: 1, try: 0 } };
    await expect(world.desk.prepared(none, one)).rejects.toThrow(/there is no save/);
  });

  it.each([
    ["a gap", { writer: 1, blocks: [2, 3] }, "SWC_COVERAGE"],
    ["an overlap", { writer: 1, blocks: [1, 2, 3, 4] }, "SWC_COVERAGE"],
  ])("with %s is aborted, never committed", async (_, over, code) => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    await world.desk.prepared(refOf(begun), await write(world.store, begun, { writer: 0 }));
    const answer = await world.desk.prepared(refOf(begun), await write(world.store, begun, over));
    expect(answer).toMatchObject({ status: "aborted", reason: { code } });
    expect((await world.desk.head(RUN)).head).toBeNull();
    const again = await world.desk.begin(aBegin());
    expect(again.marker.try).toBe(1);
  });

  it("with a manifest that is not the reported one is aborted", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin({ owners: [0, 0, 0, 0, 0] }));
    const one = await write(world.store, begun, { writer: 0 });
    const lie = { ...one, manifestSha256: `sha256:${"0".repeat(64)}` };
    expect(await world.desk.prepared(refOf(begun), lie)).toMatchObject({
      reason: { code: "SWC_CORRUPT_FILE" },
    });
  });

  it("takes the newest incarnation of a writer that was restarted", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    await world.desk.prepared(refOf(begun), await write(world.store, begun, { writer: 0 }));
    const again = await write(world.store, begun, { writer: 0, incarnation: 1 });
    await world.desk.prepared(refOf(begun), again);
    await expect(world.desk.prepared(refOf(begun), { ...again, incarnation: 0 })).rejects.toThrow(
      /is older than/,
    );
    await world.desk.prepared(refOf(begun), await write(world.store, begun, { writer: 1 }));
    const { record } = await openCommit(world.store, commitKey(begun.marker));
    expect(record.writers[0]?.manifest).toMatch(/w00000\.001\.json$/);
  });

  it("is aborted after its deadline, naming who is missing", async () => {
    const world = aWorld();
    const begun = await world.desk.begin(aBegin());
    await world.desk.prepared(refOf(begun), await write(world.store, begun, { writer: 1 }));
    await world.desk.expire();
    expect((await world.desk.begin(aBegin())).marker.try).toBe(0);
    world.nowMs += 1_800_000;
    await world.desk.expire();
    const two = await write(world.store, begun, { writer: 0 }).catch(() => null);
    expect(two).not.toBeNull();
    const answer = await world.desk.abort(refOf(begun), { code: "x", sentence: "" });
    expect(answer).toMatchObject({ status: "aborted", reason: { code: "SWC_SAVE_DEADLINE" } });
    expect(answer).toMatchObject({
      reason: { sentence: expect.stringContaining("writers 0 not prepared") },
    });
  });

  it("refuses a request that does not hold together, all complaints at once", async () => {
    const { desk } = aWorld();
    const bad = aBegin({ run: "../x", blocks: 6, worldSize: 1, blockElements: 63 });
    const fault = await Promise.resolve()
      .then(() => desk.begin(bad))
      .catch((reason: { complaints: { path: string }[] }) =>
        reason.complaints.map((one) => one.path),
      );
    expect(fault).toEqual(
      expect.arrayContaining([
        "run",
        "block_map.block_elements_count",
        "block_map.blocks_count",
        "block_map.runs",
      ]),
    );
  });
});

describe("the head", () => {
  it("is of the newest generation, then step; what is passed over is said", async () => {
    const world = aWorld();
    await save(world, { step: 20, generation: 1 });
    const key = await save(world, { step: 15, generation: 2 });
    const { head } = await world.desk.head(RUN);
    expect(head && commitKey(head)).toBe(key);
    await world.store.create(`quarantine/${key}.json`, Buffer.from("{}"));
    const after = await world.desk.head(RUN);
    expect(after.head?.step).toBe(20);
    expect(after.passedOver).toMatchObject([{ key, reason: { code: "Quarantined" } }]);
  });

  it("is chosen only after every undecided save is decided: whole ones commit, others never can", async () => {
    const world = aWorld();
    await save(world, { step: 10 });
    const whole = await world.desk.begin(aBegin({ step: 20 }));
    await write(world.store, whole, { writer: 0 });
    await write(world.store, whole, { writer: 1 });
    const restarted = aWorld(world.root);
    expect((await restarted.desk.head(RUN)).head?.step).toBe(20);
    expect(await verifyCommit(world.store, commitKey(whole.marker), "full")).toMatchObject({
      problems: [],
    });
    const half = await restarted.desk.begin(aBegin({ step: 30 }));
    await write(world.store, half, { writer: 1 });
    const third = aWorld(world.root);
    expect((await third.desk.head(RUN)).head?.step).toBe(20);
    const late = await write(world.store, half, { writer: 0 }).catch(() => null);
    const ref = refOf(half);
    const answer = late === null ? null : await restarted.desk.prepared(ref, late);
    expect(answer?.status === "committed").toBe(false);
    expect((await third.desk.head(RUN)).head?.step).toBe(20);
  });

  it("of a run without any is none", async () => {
    expect(await aWorld().desk.head(RUN)).toEqual({ head: null, passedOver: [] });
  });
});

describe("retention", () => {
  it("keeps the newest, retires the others, deletes their data only after the readers' grace", async () => {
    const world = aWorld();
    for (const step of [1, 2, 3, 4, 5]) await save(world, { step, keepLast: 2 });
    const keys = async (folder: string): Promise<number> => (await world.store.list(folder)).length;
    expect([await keys("commits"), await keys("tombstones"), await keys("data")]).toEqual([
      2, 3, 5,
    ]);
    world.nowMs += 3_600_000;
    await save(world, { step: 6, keepLast: 2 });
    expect([await keys("commits"), await keys("tombstones"), await keys("data")]).toEqual([
      2, 4, 3,
    ]);
    expect((await world.desk.head(RUN)).head?.step).toBe(6);
  });

  it("deletes the data of an aborted save and keeps its register", async () => {
    const world = aWorld();
    await save(world, { step: 1 });
    const begun = await world.desk.begin(aBegin({ step: 2 }));
    await world.desk.abort(refOf(begun), { code: "x", sentence: "y" });
    expect(await world.store.list("data")).toHaveLength(1);
    expect(await world.store.list("commits")).toHaveLength(2);
    expect(blocksOf(begun, 0)).toEqual([0, 1]);
  });

  it("deletes a run with everything in it, again without complaint", async () => {
    const world = aWorld();
    await save(world);
    await world.desk.deleteRun(RUN);
    await world.desk.deleteRun(RUN);
    expect(await world.root.list("")).toEqual([]);
  });
});
