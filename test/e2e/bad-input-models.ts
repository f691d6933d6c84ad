import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  config,
  gguf,
  huge,
  link,
  type ModelCase,
  PAGE,
  PICKLE,
  pipe,
  put,
  remove,
  WEIGHTS,
} from "./bad-input-spoil.ts";
import { WEIGHT_CASES } from "./bad-input-weights.ts";

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
