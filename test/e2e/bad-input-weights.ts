import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  hostile,
  type Json,
  link,
  type ModelCase,
  PAGE,
  PICKLE,
  pipe,
  put,
  remove,
  tensor,
  WEIGHTS,
} from "./bad-input-spoil.ts";

const shards: Json = {
  metadata: { total_size: 1 },
  weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" },
};

/** What is wrong with weights. */
export const WEIGHT_CASES: readonly ModelCase[] = [
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
