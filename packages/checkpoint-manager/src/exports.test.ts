import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { aBegin, aWorld, RUN, refOf, write } from "../../../test/support/checkpoint-run.ts";
import { withHeader } from "../../../test/support/checkpoint-writer.ts";
import { findPython } from "../../../test/support/find-python.mjs";
import { commitKey } from "./core/commit-key.ts";
import { parsePackHeader } from "./core/pack-header.ts";
import { type ExportEvent, type ExportOrder, exportCommit } from "./exports.ts";
import { openCommit } from "./reader.ts";
import { posixStore } from "./registers/posix.ts";
import { sha256 } from "./sha256.ts";

const python = findPython();
const TRAINER = fileURLToPath(new URL("../../trainer", import.meta.url));
const [R, IN, OUT, SCALE] = [2, 4, 3, 2.5];
const A = "model.layers.0.q_proj.lora_A.weight";
const B = "model.layers.0.q_proj.lora_B.weight";
const WEIGHT = "model.layers.0.q_proj.weight";

/** Element i of the flat space (A, then B) is i / 8, exact in every dtype here. */
const master = (begin: number, end: number): Float32Array =>
  Float32Array.from({ length: end - begin }, (_, index) => (begin + index) / 8);
const asBytes = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer);

/** Tensors of a small safetensors file of fp32. */
async function tensorsOf(path: string): Promise<Map<string, Float32Array>> {
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const parsed = parsePackHeader(bytes.subarray(8, 8 + length).toString(), length, bytes.length);
  if (!parsed.ok) throw new Error(parsed.why);
  return new Map(
    parsed.header.entries.map(({ name, begin, end }) => [
      name,
      new Float32Array(new Uint8Array(bytes.subarray(begin, end)).buffer),
    ]),
  );
}

// Starts Python once per export, hence above one second.
describe.skipIf(python === undefined)("an export", { timeout: 60_000 }, () => {
  let folder = "";
  let order: Omit<ExportOrder, "outputDirectory">;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "swc-export-"));
    const base = join(folder, "base");
    await mkdir(base);
    const table = {
      [WEIGHT]: { dtype: "F32", shape: [OUT, IN], data_offsets: [0, 48] },
      "model.norm.weight": { dtype: "F32", shape: [2], data_offsets: [48, 56] },
    };
    const weights = withHeader(
      JSON.stringify(table),
      [asBytes(Float32Array.from({ length: 14 }, () => 1))],
      8,
    ).bytes;
    await writeFile(join(base, "model.safetensors"), weights);
    await writeFile(join(base, "config.json"), '{ "model_type": "llama",\n "rms_norm_eps": 1e-5 }');
    await writeFile(join(base, "tokenizer.json"), "{}");
    await mkdir(join(folder, "checkpoints"));
    const world = aWorld(posixStore(join(folder, "checkpoints")));
    const lora = {
      r: R,
      alpha: 5,
      scale: SCALE,
      use_rslora: false,
      dropout: 0.1,
      target_modules: ["q_proj"],
    };
    const external = [
      {
        as: "base",
        type: "local",
        source: `file://${base}`,
        files: { "model.safetensors": sha256(weights) },
      },
    ];
    const begun = await world.desk.begin(
      aBegin({
        owners: [0],
        tensors: [
          { fqn: A, shape: [R, IN], begin: 0, end: 8 },
          { fqn: B, shape: [OUT, R], begin: 8, end: 14 },
        ],
        elements: 14,
        blockElements: 16,
        facts: { lora, external, template: { name: "base" } },
      }),
    );
    const bytesOf = (kind: string, begin: number, end: number): Uint8Array =>
      kind === "master" ? asBytes(master(begin, end)) : new Uint8Array(4 * (end - begin));
    await world.desk.prepared(
      refOf(begun),
      await write(world.store, begun, { writer: 0, bytesOf }),
    );
    const commit = commitKey(begun.marker);
    order = {
      open: await openCommit(world.store, commit),
      commit,
      runDirectory: join(folder, "checkpoints", RUN),
      request: { format: "peft", merge: false, dtype: "stored" },
      python: python ?? "",
      pythonPath: TRAINER,
      signal: new AbortController().signal,
    };
  });
  afterAll(async () => await rm(folder, { recursive: true, force: true }));

  async function all(
    over: Partial<ExportOrder> & { readonly outputDirectory: string },
  ): Promise<ExportEvent[]> {
    const events: ExportEvent[] = [];
    for await (const event of exportCommit({ ...order, ...over })) events.push(event);
    return events;
  }

  it("of an adapter has peft's names and a configuration from the stored scale", async () => {
    const outputDirectory = join(folder, "adapter");
    const events = await all({ outputDirectory });
    expect(events.at(-1)).toMatchObject({ kind: "done", location: `file://${outputDirectory}` });
    expect(events.some((event) => event.kind === "progress")).toBe(true);
    const tensors = await tensorsOf(join(outputDirectory, "adapter_model.safetensors"));
    expect(tensors.get(`base_model.model.${A}`)).toEqual(master(0, 8));
    expect(tensors.get(`base_model.model.${B}`)).toEqual(master(8, 14));
    const config = JSON.parse(
      await readFile(join(outputDirectory, "adapter_config.json"), "utf8"),
    ) as object;
    expect(config).toMatchObject({
      peft_type: "LORA",
      r: 2,
      lora_alpha: 5,
      target_modules: ["q_proj"],
      fan_in_fan_out: false,
    });
    expect((await readdir(outputDirectory)).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "export.json",
      "shardwright_template.json",
      "tokenizer.json",
    ]);
  });

  it("that is merged is W + scale B A, the rest of the base untouched", async () => {
    const outputDirectory = join(folder, "merged");
    await all({ outputDirectory, request: { format: "hf", merge: true, dtype: "stored" } });
    const tensors = await tensorsOf(join(outputDirectory, "model.safetensors"));
    const [a, b] = [master(0, 8), master(8, 14)];
    const expected = Float32Array.from({ length: OUT * IN }, (_, index) => {
      const [row, column] = [Math.floor(index / IN), index % IN];
      let sum = 0;
      for (let k = 0; k < R; k++) sum += (b[row * R + k] ?? 0) * SCALE * (a[k * IN + column] ?? 0);
      return 1 + sum;
    });
    expect(tensors.get(WEIGHT)).toEqual(expected);
    expect(tensors.get("model.norm.weight")).toEqual(Float32Array.of(1, 1));
    const config = await readFile(join(outputDirectory, "config.json"), "utf8");
    expect(config).toBe('{ "model_type": "llama",\n "rms_norm_eps": 1e-5 }');
  });

  it("that is complete is left alone; a damaged or foreign folder is refused, never overwritten", async () => {
    const outputDirectory = join(folder, "again");
    await all({ outputDirectory });
    const events = await all({ outputDirectory, python: "/nonexistent" });
    expect(events).toMatchObject([{ kind: "done" }]);
    await expect(
      all({ outputDirectory, request: { format: "hf", merge: true, dtype: "stored" } }),
    ).rejects.toThrow(/is not empty/);
    await writeFile(join(outputDirectory, "adapter_config.json"), "{}");
    await expect(all({ outputDirectory })).rejects.toThrow(/holds this export, damaged/);
    await expect(all({ outputDirectory: folder })).rejects.toThrow(/is not empty/);
    await expect(all({ outputDirectory: "relative" })).rejects.toThrow(/not an absolute path/);
  });

  it("that is stopped or fails leaves nothing", async () => {
    const before = (await readdir(folder)).sort();
    const stop = new AbortController();
    stop.abort();
    const outputDirectory = join(folder, "stopped");
    const slow = join(folder, "base", "slow");
    await writeFile(slow, "#!/bin/sh\nexec sleep 30\n", { mode: 0o755 });
    const stopLater = new AbortController();
    setTimeout(() => stopLater.abort(), 50);
    await expect(all({ outputDirectory, python: slow, signal: stopLater.signal })).rejects.toThrow(
      /stopped/,
    );
    await expect(all({ outputDirectory, python: "/bin/false" })).rejects.toThrow(/ended with 1/);
    await expect(all({ outputDirectory, python: "/bin/true" })).rejects.toThrow(
      /left no export.json/,
    );
    await expect(all({ outputDirectory, python: "/nonexistent" })).rejects.toThrow(/ENOENT/);
    expect((await readdir(folder)).sort()).toEqual(before);
  });

  it("of a base that has changed since is refused", async () => {
    const base = join(folder, "base", "model.safetensors");
    const good = await readFile(base);
    const bad = Buffer.from(good);
    bad[bad.length - 1] = 0;
    await writeFile(base, bad);
    const outputDirectory = join(folder, "changed");
    await expect(
      all({ outputDirectory, request: { format: "hf", merge: true, dtype: "bf16" } }),
    ).rejects.toThrow(/SWC_BASE_MISMATCH/);
    await writeFile(base, good);
    await all({ outputDirectory, request: { format: "hf", merge: true, dtype: "bf16" } });
    expect(JSON.parse(await readFile(join(outputDirectory, "config.json"), "utf8"))).toMatchObject({
      dtype: "bfloat16",
    });
  });
});
