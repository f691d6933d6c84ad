import { beforeEach, describe, expect, it } from "vitest";
import type { CheckpointStore } from "../../packages/checkpoint-manager/src/ports.ts";

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
const asText = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** What every store of checkpoints must do; `make` returns an empty one. */
export function registerContract(name: string, make: () => Promise<CheckpointStore>): void {
  describe(`${name} keeps the contract of a checkpoint store`, () => {
    let store: CheckpointStore;
    beforeEach(async () => {
      store = await make();
    });
    const read = async (path: string): Promise<string> =>
      asText(await store.readRange(path, 0, (await store.size(path)) ?? 0));

    it("creates a path once; the first content stands", async () => {
      expect(await store.create("commits/a.json", text("one"))).toEqual({ outcome: "created" });
      const second = await store.create("commits/a.json", text("two"));
      expect(second.outcome).toBe("taken");
      expect(second.outcome === "taken" && asText(second.standing)).toBe("one");
      expect(await read("commits/a.json")).toBe("one");
    });

    it("recognises its own bytes, so that a repeated create succeeds", async () => {
      await store.create("commits/a.json", text("one"));
      expect(await store.create("commits/a.json", text("one"))).toEqual({ outcome: "same" });
    });

    it("lets exactly one of many concurrent creators win", async () => {
      for (let round = 0; round < 5; round++) {
        const path = `commits/${round}.json`;
        const bodies = Array.from({ length: 32 }, (_, index) => `writer ${index}`);
        const results = await Promise.all(bodies.map((body) => store.create(path, text(body))));
        const winners = bodies.filter((_, index) => results[index]?.outcome === "created");
        expect(winners).toHaveLength(1);
        expect(await read(path)).toBe(winners[0]);
        for (const result of results) {
          if (result.outcome === "taken") expect(asText(result.standing)).toBe(winners[0]);
        }
      }
    });

    it("reads ranges, cut at the end of the file", async () => {
      await store.create("data/x", text("0123456789"));
      expect(asText(await store.readRange("data/x", 2, 5))).toBe("234");
      expect(asText(await store.readRange("data/x", 8, 50))).toBe("89");
      expect(asText(await store.readRange("data/x", 50, 60))).toBe("");
      expect(await store.size("data/x")).toBe(10);
    });

    it("says what is absent", async () => {
      expect(await store.size("data/none")).toBeNull();
      expect(await store.list("data")).toEqual([]);
      await expect(store.readRange("data/none", 0, 1)).rejects.toThrow();
      await store.remove("data/none");
    });

    it("lists names of files and folders, sorted, and nothing half-made", async () => {
      await store.create("data/b/x", text("1"));
      await store.create("data/a", text("1"));
      expect(await store.list("data")).toEqual(["a", "b"]);
      expect(await store.list("")).toEqual(["data"]);
    });

    it("removes a file and a folder with all in it", async () => {
      await store.create("data/s/a", text("1"));
      await store.create("data/s/b/c", text("1"));
      await store.create("data/sibling", text("1"));
      await store.remove("data/s");
      expect(await store.list("data")).toEqual(["sibling"]);
      await store.remove("data/sibling");
      expect(await store.size("data/sibling")).toBeNull();
      expect(await store.create("data/s/a", text("2"))).toEqual({ outcome: "created" });
      expect(await read("data/s/a")).toBe("2");
    });

    it("replaces a hint", async () => {
      await store.replace("tags/LATEST.json", text("one"));
      await store.replace("tags/LATEST.json", text("two"));
      expect(await read("tags/LATEST.json")).toBe("two");
    });

    it("does not share memory with its callers", async () => {
      const bytes = Buffer.from("one");
      await store.create("x", bytes);
      bytes[0] = 0;
      const back = await store.readRange("x", 0, 3);
      back[0] = 0;
      expect(await read("x")).toBe("one");
    });
  });
}
