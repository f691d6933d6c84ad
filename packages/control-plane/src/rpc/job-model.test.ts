import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { modelCardFrom } from "@shardwright/planner";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readModel } from "./job-model.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-model-"));
  mkdirSync(join(directory, "good"));
  put("config.json", JSON.stringify(CONFIG));
  put("tokenizer.json", "{}");
  put("model.safetensors", safetensors({ a: entry([2, 3], 0), b: entry([4], 24) }, 40));
});
afterEach(() => rmSync(directory, { recursive: true }));

const CONFIG = { model_type: "llama" };
const entry = (shape: number[], begin: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, begin + 4 * shape.reduce((a, b) => a * b, 1)],
});

function safetensors(header: object, dataBytes: number): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}
const put = (name: string, content: string | Buffer) =>
  writeFileSync(join(directory, "good", name), content);

async function problems(path = join(directory, "good")): Promise<string[]> {
  const reading = await readModel(path);
  return reading.ok ? [] : reading.complaints.map(({ path: at, problem }) => `${at}: ${problem}`);
}

test("a whole directory gives its configuration", async () => {
  expect(await readModel(join(directory, "good"))).toMatchObject({ ok: true, config: CONFIG });
});

test("everything that is wrong is said at once, with the paths of the files", async () => {
  put("config.json", "{");
  rmSync(join(directory, "good", "tokenizer.json"));
  put("model.safetensors", safetensors({ a: entry([2, 3], 0) }, 20));
  const found = await problems();
  expect(found).toHaveLength(3);
  expect(found.join("\n")).toMatch(
    /config\.json: is not JSON[\s\S]*no tokenizer[\s\S]*model\.safetensors: is truncated/,
  );
});

test.each<[string, Buffer, RegExp]>([
  ["shorter than a length", Buffer.from("abc"), /is truncated: 3 bytes/],
  [
    "a header longer than the file",
    safetensors({}, 0).subarray(0, 9),
    /is truncated: the header has 2 bytes/,
  ],
  [
    "an enormous header",
    Buffer.concat([Buffer.alloc(8, 0xff), Buffer.alloc(8)]),
    /header would have 18446744073709552000 bytes/,
  ],
  [
    "a header that is no object",
    Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from("[]")]),
    /not a JSON object/,
  ],
  ["bytes behind the last tensor", safetensors({ a: entry([1], 0) }, 5), /1 bytes behind/],
  ["a hole", safetensors({ a: entry([1], 0), b: entry([1], 8) }, 12), /"b" leaves a hole/],
  ["an overlap", safetensors({ a: entry([2], 0), b: entry([1], 4) }, 8), /"b" overlaps/],
  [
    "a shape that does not match",
    safetensors({ a: { ...entry([2], 0), shape: [3] } }, 8),
    /8 bytes, its dtype and shape need 12/,
  ],
  [
    "an overflowing shape",
    safetensors({ a: { ...entry([2], 0), shape: [2 ** 40, 2 ** 40] } }, 8),
    /tensor "a" has 8 bytes/,
  ],
  [
    "negative offsets",
    safetensors({ a: { ...entry([2], 0), data_offsets: [-8, 0] } }, 0),
    /no valid data_offsets/,
  ],
  ["an unknown dtype", safetensors({ a: entry([2], 0, "OBJECT") }, 8), /unknown dtype "OBJECT"/],
  ["a null entry", safetensors({ a: null }, 0), /unknown dtype/],
])("safetensors with %s are refused", async (_, bytes, expected) => {
  put("model.safetensors", bytes);
  const [problem] = await problems();
  expect(problem).toMatch(expected);
  expect(problem).toContain("model.safetensors");
});

test.each<[string, string, string | Buffer, RegExp]>([
  [
    "a shard that is missing",
    "model.safetensors.index.json",
    '{"weight_map": {"a": "model.safetensors", "b": "other.safetensors"}}',
    /index\.json: names "other\.safetensors", which is not in the folder/,
  ],
  [
    "a shard of another folder",
    "model.safetensors.index.json",
    '{"weight_map": {"a": "../good/model.safetensors"}}',
    /index\.json: names "\.\.\/good\/model\.safetensors"/,
  ],
  [
    "an index of something else",
    "model.safetensors.index.json",
    "[]",
    /index\.json: weight_map must map/,
  ],
  [
    "code of its own",
    "config.json",
    '{"model_type": "llama", "auto_map": {}}',
    /config\.json: has auto_map/,
  ],
  ["a configuration with secrets", "config.json", "s3cret", /config\.json: is not JSON$/],
])("a folder with %s is refused", async (_, file, content, expected) => {
  put(file, content);
  const found = await problems();
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(expected);
});

test.each(["config.json", "model.safetensors"])("%s that is a pipe is not opened", async (name) => {
  const path = join(directory, "good", name);
  rmSync(path);
  execFileSync("mkfifo", [path]);
  expect(await problems()).toEqual([`${path}: is no regular file`]);
});

test("pickled weights are refused with what to do; beside safetensors they are ignored", async () => {
  put("pytorch_model.bin", "\x80\x04");
  expect(await problems()).toEqual([]);
  rmSync(join(directory, "good", "model.safetensors"));
  expect((await problems())[0]).toMatch(/pytorch_model\.bin, a pickle.*safe_serialization=True/);
});

test.each([
  ["nothing there", "absent", /does not exist/],
  ["a file of another kind", "good/config.json", /neither a folder/],
])("%s is a complaint about spec.model.source", async (_, name, expected) => {
  const [problem] = await problems(join(directory, name));
  expect(problem).toMatch(expected);
  expect(problem).toMatch(/^spec\.model\.source: /);
});

/** A GGUF file with metadata entries (text, uint32 or an array of texts) and tensor names. */
function gguf(metadata: Record<string, string | number | string[]>, tensors: string[]): Buffer {
  const u32 = (value: number) => Buffer.from(new Uint32Array([value]).buffer);
  const u64 = (value: number) => Buffer.from(new BigUint64Array([BigInt(value)]).buffer);
  const text = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)]);
  const value = (item: string | number | string[]): Buffer => {
    if (typeof item === "number") return Buffer.concat([u32(4), u32(item)]);
    if (typeof item === "string") return Buffer.concat([u32(8), text(item)]);
    return Buffer.concat([u32(9), u32(8), u64(item.length), ...item.map(text)]);
  };
  return Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensors.length),
    u64(Object.keys(metadata).length),
    ...Object.entries(metadata).flatMap(([key, item]) => [text(key), value(item)]),
    ...tensors.flatMap((name) => [text(name), u32(2), u64(4), u64(4), u32(0), u64(0)]),
  ]);
}

const LLAMA = {
  "general.architecture": "llama",
  "llama.block_count": 2,
  "llama.embedding_length": 64,
  "llama.feed_forward_length": 128,
  "llama.attention.head_count": 4,
  "llama.attention.head_count_kv": 2,
  "llama.context_length": 512,
  "tokenizer.ggml.tokens": Array.from({ length: 300 }, (_, i) => `token${i}`),
};

test("a GGUF file gives a card like a config.json, tied where it has no output tensor", async () => {
  const path = join(directory, "model.gguf");
  for (const [tensors, tied] of [
    [["token_embd.weight"], true],
    [["output.weight"], false],
  ] as const) {
    writeFileSync(path, gguf(LLAMA, [...tensors]));
    const reading = await readModel(path);
    const card = reading.ok ? modelCardFrom(reading.config) : undefined;
    expect(card).toMatchObject({
      ok: true,
      card: { architecture: "llama", layers: 2, hidden: 64, kv: 32, vocabulary: 300, tied },
    });
  }
});

test("every cut of a GGUF file's metadata is refused, never a crash", async () => {
  const path = join(directory, "model.gguf");
  const whole = gguf({ ...LLAMA, "tokenizer.ggml.tokens": ["a", "b"] }, ["output.weight"]);
  for (let length = 0; length < whole.length - 12; length += 7) {
    writeFileSync(path, whole.subarray(0, length));
    expect(await readModel(path), `cut at ${length}`).toMatchObject({ ok: false });
  }
  writeFileSync(path, Buffer.concat([whole.subarray(0, 16), Buffer.alloc(8, 0xff), whole]));
  expect(await readModel(path)).toMatchObject({ ok: false });
});
