import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** A model that must be refused at submit; `mentions` is the file or field that the answer names, and why. */
export interface ModelCase {
  readonly name: string;
  readonly mentions: readonly string[];
  /** What spec.model.source names, inside the case's own folder; the folder itself when there is none. */
  readonly source?: string;
  /** Changes a copy of the good tiny model in `folder`. */
  readonly spoil: (folder: string) => void;
  /** Runs only where file modes hold: root reads everything. */
  readonly needsModes?: boolean;
}

const WEIGHTS = "model.safetensors";
type Json = Record<string, unknown>;

function edit(folder: string, file: string, change: (value: Json) => Json): void {
  const path = join(folder, file);
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Json)));
}

const config =
  (change: Json) =>
  (folder: string): void =>
    edit(folder, "config.json", (value) => ({ ...value, ...change }));

const put =
  (file: string, content: string | Buffer) =>
  (folder: string): void =>
    writeFileSync(join(folder, file), content);

const remove =
  (...files: string[]) =>
  (folder: string): void => {
    for (const file of files) rmSync(join(folder, file));
  };

/** A pipe nobody writes into: who opens it without looking waits for ever. */
const pipe =
  (file: string) =>
  (folder: string): void => {
    rmSync(join(folder, file), { force: true });
    execFileSync("mkfifo", [join(folder, file)]);
  };

const link =
  (file: string, target: string) =>
  (folder: string): void => {
    rmSync(join(folder, file), { force: true });
    symlinkSync(target, join(folder, file));
  };

function safetensors(header: string | object, dataBytes: number): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

const tensor = (begin: number, end: number, more: Json = {}): Json => ({
  dtype: "F32",
  shape: [(end - begin) / 4],
  data_offsets: [begin, end],
  ...more,
});
const hostile = (header: string | object, dataBytes: number) =>
  put(WEIGHTS, safetensors(header, dataBytes));

function gguf(rest: Buffer): Buffer {
  const start = Buffer.from("GGUF\x03\x00\x00\x00", "latin1");
  return Buffer.concat([start, rest]);
}
const huge = Buffer.alloc(16, 0xff);

/** The HTML page that a failed download leaves behind. */
const PAGE = "<!DOCTYPE html><html><body>404</body></html>";
/** Protocol 4 pickle of an object that would call os.system. */
const PICKLE = Buffer.from("80048c026f738c0673797374656d938c0474727565855294302e", "hex");

const shards: Json = {
  metadata: { total_size: 1 },
  weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" },
};

/** What is wrong with weights. */
const WEIGHT_CASES: readonly ModelCase[] = [
  { name: "weights-empty", mentions: [WEIGHTS, "truncated"], spoil: put(WEIGHTS, "") },
  { name: "weights-three-bytes", mentions: [WEIGHTS, "3 bytes"], spoil: put(WEIGHTS, "abc") },
  {
    name: "weights-cut-short",
    mentions: [WEIGHTS, "is truncated"],
    spoil: (folder) => truncateSync(join(folder, WEIGHTS), 20_000),
  },
  {
    name: "weights-cut-in-header",
    mentions: [WEIGHTS, "is truncated: the header has"],
    spoil: (folder) => truncateSync(join(folder, WEIGHTS), 100),
  },
  {
    name: "weights-with-a-tail",
    mentions: [WEIGHTS, "bytes behind its last tensor"],
    spoil: (folder) => {
      const path = join(folder, WEIGHTS);
      writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(7)]));
    },
  },
  {
    name: "weights-giant-header",
    mentions: [WEIGHTS, "at most 100000000"],
    spoil: put(WEIGHTS, Buffer.alloc(64, 0xff)),
  },
  { name: "weights-a-page", mentions: [WEIGHTS, "not safetensors"], spoil: put(WEIGHTS, PAGE) },
  {
    name: "weights-header-a-list",
    mentions: [WEIGHTS, "not a JSON object"],
    spoil: hostile("[]", 0),
  },
  {
    name: "weights-header-deep",
    mentions: [WEIGHTS, "not a JSON object"],
    spoil: hostile("[".repeat(200_000), 0),
  },
  {
    name: "weights-overlap",
    mentions: [WEIGHTS, '"b" overlaps another'],
    spoil: hostile({ a: tensor(0, 8), b: tensor(4, 12) }, 12),
  },
  {
    name: "weights-hole",
    mentions: [WEIGHTS, '"b" leaves a hole'],
    spoil: hostile({ a: tensor(0, 8), b: tensor(12, 16) }, 16),
  },
  {
    name: "weights-negative-offset",
    mentions: [WEIGHTS, "no valid data_offsets"],
    spoil: hostile({ a: tensor(0, 8, { data_offsets: [-8, 0] }) }, 8),
  },
  {
    name: "weights-overflowing-shape",
    mentions: [WEIGHTS, '"a" has 8 bytes'],
    spoil: hostile({ a: tensor(0, 8, { shape: [2 ** 40, 2 ** 40] }) }, 8),
  },
  {
    name: "weights-unknown-dtype",
    mentions: [WEIGHTS, "unknown dtype"],
    spoil: hostile({ a: tensor(0, 8, { dtype: "PICKLE" }) }, 8),
  },
  {
    name: "weights-null-tensor",
    mentions: [WEIGHTS, '"a" has an unknown dtype'],
    spoil: hostile({ a: null }, 0),
  },
  { name: "weights-a-pipe", mentions: [WEIGHTS, "no regular file"], spoil: pipe(WEIGHTS) },
  {
    name: "weights-a-device",
    mentions: [WEIGHTS, "no regular file"],
    spoil: link(WEIGHTS, "/dev/zero"),
  },
  {
    name: "weights-a-broken-link",
    mentions: [WEIGHTS, "does not exist"],
    spoil: link(WEIGHTS, "nowhere"),
  },
  {
    name: "weights-a-link-to-itself",
    mentions: [WEIGHTS, "cannot be read"],
    spoil: link(WEIGHTS, WEIGHTS),
  },
  {
    name: "weights-a-folder",
    mentions: [WEIGHTS, "no regular file"],
    spoil: (folder) => {
      rmSync(join(folder, WEIGHTS));
      mkdirSync(join(folder, WEIGHTS));
    },
  },
  { name: "no-weights", mentions: ["no .safetensors file"], spoil: remove(WEIGHTS) },
  {
    name: "pickle-only",
    mentions: ["pytorch_model.bin", "pickle"],
    spoil: (folder) => {
      remove(WEIGHTS)(folder);
      put("pytorch_model.bin", PICKLE)(folder);
    },
  },
  {
    name: "pickle-named-safetensors",
    mentions: [WEIGHTS, "safetensors"],
    spoil: put(WEIGHTS, PICKLE),
  },
  {
    name: "shard-missing",
    mentions: ["model.safetensors.index.json", "model-00002-of-00002.safetensors"],
    spoil: (folder) => {
      renameSync(join(folder, WEIGHTS), join(folder, "model-00001-of-00002.safetensors"));
      put("model.safetensors.index.json", JSON.stringify(shards))(folder);
    },
  },
  {
    name: "shard-outside",
    mentions: ["model.safetensors.index.json", "../../secret.safetensors"],
    spoil: put(
      "model.safetensors.index.json",
      JSON.stringify({ weight_map: { a: "../../secret.safetensors" } }),
    ),
  },
  {
    name: "shard-index-broken",
    mentions: ["model.safetensors.index.json", "is not JSON"],
    spoil: put("model.safetensors.index.json", '{"weight_map": '),
  },
  {
    name: "shard-index-of-numbers",
    mentions: ["model.safetensors.index.json", "weight_map"],
    spoil: put("model.safetensors.index.json", '{"weight_map": {"a": 1}}'),
  },
];

/** What is wrong with what is said about the weights. */
const CONFIG_CASES: readonly ModelCase[] = [
  {
    name: "config-missing",
    mentions: ["config.json", "does not exist"],
    spoil: remove("config.json"),
  },
  { name: "config-empty", mentions: ["config.json", "is not JSON"], spoil: put("config.json", "") },
  {
    name: "config-broken",
    mentions: ["config.json", "is not JSON"],
    spoil: put("config.json", '{"model_type"'),
  },
  {
    name: "config-a-list",
    mentions: ["config.json", "must be a JSON object"],
    spoil: put("config.json", "[1]"),
  },
  {
    name: "config-null",
    mentions: ["config.json", "must be a JSON object"],
    spoil: put("config.json", "null"),
  },
  {
    name: "config-a-page",
    mentions: ["config.json", "is not JSON"],
    spoil: put("config.json", PAGE),
  },
  {
    name: "config-deep",
    mentions: ["config.json"],
    spoil: put("config.json", `${"[".repeat(100_000)}${"]".repeat(100_000)}`),
  },
  {
    name: "config-large",
    mentions: ["config.json", "at most 1048576"],
    spoil: put("config.json", " ".repeat(2 * 1024 * 1024)),
  },
  {
    name: "config-a-pipe",
    mentions: ["config.json", "no regular file"],
    spoil: pipe("config.json"),
  },
  {
    name: "config-endless",
    mentions: ["config.json", "no regular file"],
    spoil: link("config.json", "/dev/zero"),
  },
  {
    name: "config-a-folder",
    mentions: ["config.json", "no regular file"],
    spoil: (folder) => {
      rmSync(join(folder, "config.json"));
      mkdirSync(join(folder, "config.json"));
    },
  },
  {
    name: "architecture-unknown",
    mentions: ["config.json model_type", "mamba"],
    spoil: config({ model_type: "mamba" }),
  },
  {
    name: "architecture-a-list",
    mentions: ["config.json model_type"],
    spoil: config({ model_type: ["llama"] }),
  },
  {
    name: "architecture-missing",
    mentions: ["config.json model_type", "is missing"],
    spoil: config({ model_type: null }),
  },
  {
    name: "code-wanted",
    mentions: ["config.json", "auto_map"],
    spoil: config({ auto_map: { AutoModel: "evil.Model" } }),
  },
  {
    name: "layers-negative",
    mentions: ["config.json num_hidden_layers"],
    spoil: config({ num_hidden_layers: -1 }),
  },
  {
    name: "layers-text",
    mentions: ["config.json num_hidden_layers"],
    spoil: config({ num_hidden_layers: "2" }),
  },
  {
    name: "layers-endless",
    mentions: ["config.json num_hidden_layers"],
    spoil: config({ num_hidden_layers: 1e15 }),
  },
  { name: "hidden-zero", mentions: ["config.json hidden_size"], spoil: config({ hidden_size: 0 }) },
  {
    name: "heads-uneven",
    mentions: ["config.json num_attention_heads"],
    spoil: config({ num_attention_heads: 5, num_key_value_heads: 5, head_dim: null }),
  },
  {
    name: "vocabulary-fraction",
    mentions: ["config.json vocab_size"],
    spoil: config({ vocab_size: 1.5 }),
  },
  {
    name: "tokenizer-missing",
    mentions: ["has no tokenizer"],
    spoil: remove("tokenizer.json", "tokenizer_config.json"),
  },
  {
    name: "everything-wrong",
    mentions: ["config.json: is not JSON", "has no tokenizer", `${WEIGHTS}: is truncated`],
    spoil: (folder) => {
      put("config.json", "{")(folder);
      remove("tokenizer.json")(folder);
      put(WEIGHTS, "x")(folder);
    },
  },
];

/** What is no model folder. */
const PLACE_CASES: readonly ModelCase[] = [
  {
    name: "nothing-there",
    source: "absent",
    mentions: ["spec.model.source", "does not exist"],
    spoil: () => undefined,
  },
  {
    name: "a-file",
    source: "config.json",
    mentions: ["spec.model.source", "neither a folder"],
    spoil: () => undefined,
  },
  {
    name: "a-folder-of-nothing",
    source: "empty",
    mentions: ["config.json: does not exist", "has no tokenizer", "no .safetensors"],
    spoil: (folder) => mkdirSync(join(folder, "empty")),
  },
  {
    name: "a-pipe-named-gguf",
    source: "pipe.gguf",
    mentions: ["pipe.gguf", "no regular file"],
    spoil: pipe("pipe.gguf"),
  },
  {
    name: "gguf-empty",
    source: "m.gguf",
    mentions: ["m.gguf", "is truncated"],
    spoil: put("m.gguf", ""),
  },
  {
    name: "gguf-a-page",
    source: "m.gguf",
    mentions: ["m.gguf", "is not a GGUF file"],
    spoil: put("m.gguf", PAGE),
  },
  {
    name: "gguf-old",
    source: "m.gguf",
    mentions: ["m.gguf", "version 1"],
    spoil: put("m.gguf", Buffer.from("GGUF\x01\x00\x00\x00", "latin1")),
  },
  {
    name: "gguf-cut",
    source: "m.gguf",
    mentions: ["m.gguf", "is truncated"],
    spoil: put("m.gguf", gguf(Buffer.alloc(3))),
  },
  {
    name: "gguf-endless",
    source: "m.gguf",
    mentions: ["m.gguf", "it counts to"],
    spoil: put("m.gguf", gguf(huge)),
  },
  {
    name: "gguf-without-metadata",
    source: "m.gguf",
    mentions: ["m.gguf model_type"],
    spoil: put("m.gguf", gguf(Buffer.alloc(16))),
  },
  {
    name: "gguf-pickle-in-disguise",
    source: "m.gguf",
    mentions: ["m.gguf", "GGUF"],
    spoil: put("m.gguf", Buffer.concat([PICKLE, Buffer.alloc(64)])),
  },
  {
    name: "unreadable",
    source: "closed",
    mentions: ["closed", "cannot be read"],
    needsModes: true,
    spoil: (folder) => {
      mkdirSync(join(folder, "closed"));
      chmodSync(join(folder, "closed"), 0o000);
    },
  },
];

export const MODEL_CASES: readonly ModelCase[] = [...WEIGHT_CASES, ...CONFIG_CASES, ...PLACE_CASES];

/** A fault that only the trainer can see: the job starts and must end Failed for the user's reason. */
export interface TrainerCase {
  readonly name: string;
  readonly mentions: readonly string[];
  readonly spoil: (folder: string) => void;
}

const template =
  (text: string) =>
  (folder: string): void =>
    edit(folder, "tokenizer_config.json", (value) => ({ ...value, chat_template: text }));

/** Turns one weight into NaN in place; BF16 and F32 alike: all bits set. */
function poison(folder: string): void {
  const path = join(folder, WEIGHTS);
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  bytes.fill(0xff, 8 + length, 8 + length + 4096);
  writeFileSync(path, bytes);
}

// One loop is cut by the sandbox at 100,000 turns; four inside each other would never end.
const ENDLESS = `${"{% for a in range(99999) %}".repeat(4)}${"{% endfor %}".repeat(4)}`;

export const TRAINER_CASES: readonly TrainerCase[] = [
  {
    name: "template-endless",
    mentions: ["tokenizer_config.json", "took longer than"],
    spoil: template(ENDLESS),
  },
  {
    name: "template-escapes",
    mentions: ["chat template"],
    spoil: template(
      "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ),
  },
  {
    name: "template-large",
    mentions: ["tokenizer_config.json", "64 KiB"],
    spoil: template(`{# ${"x".repeat(100 * 1024)} #}`),
  },
  {
    name: "template-broken",
    mentions: ["tokenizer_config.json", "line 2"],
    spoil: template("{{ messages }}\n{% if %}"),
  },
  {
    name: "template-a-bomb",
    mentions: ["chat template", "repetition"],
    spoil: template("{{ 'x' * 10 ** 12 }}"),
  },
  {
    name: "tokenizer-broken",
    mentions: ["tokenizer.json"],
    spoil: put("tokenizer.json", '{"version": "1.0"'),
  },
  {
    name: "tokenizer-settings-broken",
    mentions: ["tokenizer_config.json", "not valid JSON"],
    spoil: put("tokenizer_config.json", "{,}"),
  },
  {
    name: "heads-of-other-weights",
    mentions: ["config.json", "48"],
    spoil: config({ num_attention_heads: 5, num_key_value_heads: 5 }),
  },
  {
    name: "weights-of-other-width",
    mentions: ["cannot be loaded"],
    spoil: config({ intermediate_size: 128 }),
  },
  {
    name: "activation-unknown",
    mentions: ["config.json", "evil"],
    spoil: config({ hidden_act: "evil" }),
  },
  { name: "weights-nan", mentions: ["not finite"], spoil: poison },
];

/** A copy of the good model in a folder of its own, spoilt; returns what spec.model.source names. */
export function spoilt(
  good: string,
  place: string,
  one: {
    readonly name: string;
    readonly source?: string;
    readonly spoil: (folder: string) => void;
  },
): string {
  const folder = join(place, one.name);
  cpSync(good, folder, { recursive: true });
  one.spoil(folder);
  return one.source === undefined ? folder : join(folder, one.source);
}
