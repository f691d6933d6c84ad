import { OUTPUT_FLAGS, type Verb } from "./verb.ts";

/** What a job leaves: checkpoints and exports. A part of the table in verbs.ts, with its rule: nothing is loaded here. */
export const RESULT_VERBS: readonly Verb[] = [
  {
    path: ["export"],
    summary: "write the weights of a job's last checkpoint as an adapter or a model",
    args: ["<job>"],
    flags: [
      { flags: "--format <format>", help: "peft (default) or hf", choices: ["peft", "hf"] },
      { flags: "--merge", help: "merge the adapter into the base weights (hf)" },
      { flags: "--out <dir>", help: "new or empty directory", required: true },
      { flags: "--commit <commit>", help: "of this checkpoint instead of the last" },
      {
        flags: "--dtype <dtype>",
        help: "stored (default), fp32 or bf16",
        choices: ["stored", "fp32", "bf16"],
      },
    ],
    examples: [
      "shardctl export job/support-tone --format peft --out ./adapter",
      "shardctl export support-tone --format hf --merge --out ./model",
    ],
    exits: [7, 8],
    load: () => import("./commands/export.ts"),
  },
  {
    path: ["checkpoints", "list"],
    summary: "committed checkpoints, of one job or of all",
    args: ["[job]"],
    flags: OUTPUT_FLAGS,
    examples: ["shardctl checkpoints list support-tone"],
    exits: [7, 8],
    load: async () => ({ run: (await import("./commands/checkpoints.ts")).list }),
  },
  {
    path: ["checkpoints", "inspect"],
    summary: "one checkpoint, as JSON or YAML",
    args: ["<job>", "[commit]"],
    flags: [{ flags: "-o, --output <format>", help: "json (default) or yaml" }],
    examples: ["shardctl checkpoints inspect support-tone"],
    exits: [7, 8],
    load: async () => ({ run: (await import("./commands/checkpoints.ts")).inspect }),
  },
  {
    path: ["checkpoints", "verify"],
    summary: "read a checkpoint back and compare every checksum; exit 1 when it is damaged",
    args: ["<job>", "[commit]"],
    flags: [
      {
        flags: "--level <level>",
        help: "quick, crc (default) or full",
        choices: ["quick", "crc", "full"],
      },
      { flags: "-o, --output <format>", help: "text, json or yaml" },
    ],
    examples: ["shardctl checkpoints verify support-tone --level full"],
    exits: [7, 8],
    load: async () => ({ run: (await import("./commands/checkpoints.ts")).verify }),
  },
];
