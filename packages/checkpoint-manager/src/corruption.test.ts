import { describe, expect, it } from "vitest";
import { aBegin, aWorld, refOf, save, write } from "../../../test/support/checkpoint-run.ts";
import { commitKey } from "./core/commit-key.ts";
import { hashCommit } from "./hash.ts";
import { openCommit } from "./reader.ts";
import { type MemoryStore, memoryStore } from "./registers/memory.ts";
import { verifyCommit } from "./verify.ts";

interface Whole {
  readonly files: MemoryStore;
  readonly key: string;
  readonly hashes: Awaited<ReturnType<typeof hashCommit>>;
  verify(level: "quick" | "crc" | "full"): Promise<readonly string[]>;
  /** Loads everything; the hashes, or the code of the refusal. */
  load(): Promise<string>;
}

async function aWhole(): Promise<Whole> {
  const files = memoryStore();
  const world = aWorld(files);
  const key = await save(world);
  const hashes = await hashCommit(await openCommit(world.store, key));
  return {
    files,
    key,
    hashes,
    verify: async (level) =>
      (await verifyCommit(world.store, key, level)).problems.map((problem) => problem.code),
    load: async () => {
      try {
        return JSON.stringify(await hashCommit(await openCommit(world.store, key)));
      } catch (reason) {
        return (reason as { problem?: { code: string } }).problem?.code ?? `bug: ${String(reason)}`;
      }
    },
  };
}

/** Every file that a commit rests on; the hint is not one of them. */
const committedFiles = (whole: Whole): string[] =>
  [...whole.files.files.keys()].filter((path) => !path.includes("/tags/"));
const isNeeded = (path: string): boolean => !/(run|save)\.json$/.test(path);

/** Puts other bytes under a path, runs, and puts the old ones back. */
async function damaged<T>(
  whole: Whole,
  path: string,
  bytes: Uint8Array | null,
  look: () => Promise<T>,
): Promise<T> {
  const good = whole.files.files.get(path);
  if (good === undefined) throw new Error(path);
  if (bytes === null) whole.files.files.delete(path);
  else whole.files.files.set(path, bytes);
  try {
    return await look();
  } finally {
    whole.files.files.set(path, good);
  }
}

// Tens of thousands of whole verifications, hence far above one second.
describe("a corrupted checkpoint", { timeout: 240_000 }, () => {
  it("is found out for every byte of every file, by verify and by a load that needs it", async () => {
    const whole = await aWhole();
    const expected = JSON.stringify(whole.hashes);
    const undetected: string[] = [];
    const wrong: string[] = [];
    let trials = 0;
    for (const path of committedFiles(whole)) {
      const good = whole.files.files.get(path) ?? new Uint8Array();
      // A header is padded with thousands of equal spaces: all of the text and every 61st byte of the padding.
      const text = path.endsWith(".safetensors") ? 1_400 : good.length;
      for (let at = 0; at < good.length; at += at < text || at > 4_090 ? 1 : 61) {
        const bytes = good.slice();
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (at & 7));
        trials++;
        await damaged(whole, path, bytes, async () => {
          if ((await whole.verify("full")).length === 0) undetected.push(`${path}@${at}`);
          const loaded = await whole.load();
          const isFine = isNeeded(path) ? loaded.startsWith("SWC_") : loaded === expected;
          if (!isFine) wrong.push(`${path}@${at}: ${loaded}`);
        });
      }
    }
    expect(undetected).toEqual([]);
    expect(wrong).toEqual([]);
    expect(trials).toBeGreaterThan(10_000);
    expect(await whole.verify("full")).toEqual([]);
  });

  it("is found out when a file is missing, cut, longer, empty or zeroed", async () => {
    const whole = await aWhole();
    for (const path of committedFiles(whole)) {
      const good = whole.files.files.get(path) ?? new Uint8Array();
      const longer = new Uint8Array(good.length + 1);
      longer.set(good);
      const bad = [
        null,
        good.slice(0, -1),
        good.slice(0, 4096),
        new Uint8Array(),
        longer,
        new Uint8Array(good.length),
      ];
      for (const bytes of bad) {
        if (bytes?.length === good.length && good.every((byte, index) => byte === bytes[index]))
          continue;
        await damaged(whole, path, bytes, async () => {
          const codes = await whole.verify("full");
          expect(codes.length, `${path} as ${bytes?.length} bytes`).toBeGreaterThan(0);
          if (isNeeded(path)) expect(await whole.load()).toMatch(/^SWC_/);
        });
      }
    }
  });

  it("is found out when files of two writers, or of two steps, are swapped", async () => {
    const files = memoryStore();
    const world = aWorld(files);
    const keys = [await save(world, { step: 10 }), await save(world, { step: 20 })];
    const shards = [...files.files.keys()].filter((path) => /w0000\d\.000/.test(path));
    let swaps = 0;
    for (const one of shards) {
      for (const other of shards) {
        const ending = (path: string): string => path.slice(path.lastIndexOf("."));
        if (one >= other || ending(one) !== ending(other)) continue;
        const [first, second] = [files.files.get(one), files.files.get(other)];
        if (first === undefined || second === undefined) continue;
        files.files.set(one, second).set(other, first);
        const verdicts = await Promise.all(
          keys.map((key) => verifyCommit(world.store, key, "crc")),
        );
        expect(
          verdicts.flatMap((verdict) => verdict.problems).length,
          `${one} and ${other}`,
        ).toBeGreaterThan(0);
        files.files.set(one, first).set(other, second);
        swaps++;
      }
    }
    expect(swaps).toBe(18);
  });

  it("with a hint that is damaged or gone is not affected", async () => {
    const whole = await aWhole();
    const hint = [...whole.files.files.keys()].find((path) => path.includes("/tags/")) ?? "";
    for (const bytes of [null, new Uint8Array(3)]) {
      await damaged(whole, hint, bytes, async () => {
        expect(await whole.verify("full")).toEqual([]);
        expect(await whole.load()).toBe(JSON.stringify(whole.hashes));
      });
    }
  });

  it("whose record or manifest was edited and sealed again is still found out", async () => {
    const { canonicalJson } = await import("./core/canonical-json.ts");
    const { seal } = await import("./core/sealed.ts");
    const { sha256 } = await import("./sha256.ts");
    const whole = await aWhole();
    const edit = async (
      path: string,
      change: (value: Record<string, unknown>) => void,
    ): Promise<readonly string[]> => {
      const value = JSON.parse(Buffer.from(whole.files.files.get(path) ?? []).toString()) as Record<
        string,
        unknown
      >;
      delete value["self"];
      change(value);
      expect(canonicalJson(value as never)).toBeTypeOf("string");
      return await damaged(whole, path, Buffer.from(seal(value as never, sha256)), () =>
        whole.verify("full"),
      );
    };
    const paths = committedFiles(whole);
    const record = paths.find((path) => path.includes("/commits/")) ?? "";
    const manifest = paths.find((path) => path.endsWith("w00000.000.json")) ?? "";
    expect(
      await edit(record, (value) => {
        value["step"] = 11;
      }),
    ).toContain("SWC_BAD_RECORD");
    expect(
      await edit(record, (value) => {
        value["merkle"] = `sha256:${"0".repeat(64)}`;
      }),
    ).toContain("SWC_CORRUPT_FILE");
    expect(
      await edit(record, (value) => {
        (value["writers"] as unknown[]).pop();
      }),
    ).toContain("SWC_COVERAGE");
    expect(
      await edit(record, (value) => {
        value["requires"] = ["box"];
      }),
    ).toContain("SWC_UNKNOWN_FEATURE");
    expect(
      await edit(record, (value) => {
        value["swc"] = 2;
      }),
    ).toContain("SWC_UNSUPPORTED_VERSION");
    expect(
      await edit(manifest, (value) => {
        value["block_digests"] = [];
      }),
    ).toContain("SWC_CORRUPT_FILE");
  });
});

describe("a save whose files are damaged before the commit", () => {
  it("is refused, whichever file it is", async () => {
    for (const name of ["w00000.000-00.safetensors", "w00000.000-00.crc", "w00000.000.json"]) {
      const files = memoryStore();
      const world = aWorld(files);
      const begun = await world.desk.begin(aBegin());
      const one = await write(world.store, begun, { writer: 0 });
      const path = [...files.files.keys()].find((file) => file.endsWith(name)) ?? "";
      const bytes = files.files.get(path) ?? new Uint8Array();
      bytes[5] = (bytes[5] ?? 0) ^ 4; // in a pack: its header, which the proof reads
      await world.desk.prepared(refOf(begun), one);
      const answer = await world.desk.prepared(
        refOf(begun),
        await write(world.store, begun, { writer: 1 }),
      );
      expect(answer.status, name).toBe("aborted");
      expect(files.files.has(`${begun.marker.run}/commits/${commitKey(begun.marker)}.json`)).toBe(
        true,
      );
    }
  });
});
