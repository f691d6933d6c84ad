import { outside } from "./outside.ts";
import type { Verb } from "./verb.ts";

/** What this machine can do by itself. A part of the table in verbs.ts, with its rule: nothing is loaded here. */
export const MACHINE_VERBS: readonly Verb[] = [
  {
    path: ["data", "check"],
    summary: "check a training file: every problem with its line; exit 2 when it has errors",
    args: ["<file>"],
    flags: [
      {
        flags: "--format <format>",
        help: "shape of the rows (default: found out)",
        choices: ["auto", "chat", "completions", "alpaca", "sharegpt", "mlx", "text", "tabular"],
      },
      { flags: "--map <role=column...>", help: "what the columns of a table are" },
      { flags: "--allow-small", help: "fewer than 10 examples are a warning" },
      { flags: "-o, --output <format>", help: "text, json or yaml" },
    ],
    examples: [
      "shardctl data check train.jsonl",
      "shardctl data check rows.csv --map input=Question output=Answer",
    ],
    exits: [],
    load: () => import("./commands/data-check.ts"),
  },
  {
    path: ["quickstart"],
    summary: "tune a real model on real data on this machine and show what it learnt",
    args: [],
    flags: [
      { flags: "--fresh", help: "forget the job of an earlier run and train again" },
      { flags: "--no-rehearsal", help: "do not kill a rank in front of me at the end" },
    ],
    examples: ["npm run quickstart", "npm run quickstart -- --fresh"],
    exits: [3, 4, 5, 6, 7],
    ownsSignals: true,
    load: () => outside("commands/quickstart"),
  },
  {
    path: ["chat"],
    summary: "talk to a finished job's model",
    args: ["<model>"],
    flags: [
      {
        flags: "--system <text>",
        help: "system message (default: the one the job was trained with)",
      },
      { flags: "--multi-turn", help: "keep the conversation as context" },
    ],
    examples: ["shardctl chat ft:support-tone"],
    exits: [],
    load: () => outside("commands/chat"),
  },
  {
    path: ["schema"],
    summary: "fields of the job document, with their types and defaults",
    args: ["[field]"],
    flags: [{ flags: "-o, --output <format>", help: "text, json or yaml" }],
    examples: ["shardctl schema", "shardctl schema spec.tuning"],
    exits: [],
    load: () => import("./commands/schema.ts"),
  },
  {
    path: ["doctor"],
    summary: "check this machine and the control plane, and say what to do",
    args: [],
    flags: [{ flags: "-o, --output <format>", help: "text, json or yaml" }],
    examples: ["shardctl doctor"],
    exits: [],
    load: () => outside("commands/doctor"),
  },
  {
    path: ["completion"],
    summary: "completion script for a shell",
    args: ["<shell>"],
    flags: [],
    examples: ["source <(shardctl completion bash)"],
    exits: [],
    load: () => import("./commands/completion.ts"),
  },
  {
    path: ["version"],
    summary: "version of shardctl",
    args: [],
    flags: [{ flags: "-o, --output <format>", help: "text, json or yaml" }],
    examples: ["shardctl version"],
    exits: [],
    load: () => import("./commands/version.ts"),
  },
];
