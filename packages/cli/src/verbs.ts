import { MACHINE_VERBS } from "./machine-verbs.ts";
import { outside } from "./outside.ts";
import { RESULT_VERBS } from "./result-verbs.ts";
import { OUTPUT_FLAGS, type Verb } from "./verb.ts";

// This table is loaded by every call: it may import nothing that costs. Code comes with `load`.

const FILE = {
  flags: "-f, --filename <file...>",
  help: "file, directory or - for standard input",
  required: true,
};
const TIMEOUT = { flags: "--timeout <duration>", help: "longest wait; exit 5 when it passes" };

export const VERBS: readonly Verb[] = [
  {
    path: ["up"],
    summary: "run the control plane on this machine",
    args: [],
    flags: [
      { flags: "--detach", help: "return when it is ready; it goes on in the background" },
      {
        flags: "--port <port>",
        help: "port of the API on 127.0.0.1 (default: the last one, else a free one)",
      },
      {
        flags: "--metrics-port <port>",
        help: "port of /metrics on 127.0.0.1 (default: a free one)",
      },
      {
        flags: "--hang-after <duration>",
        help: "end a rank that was not heard for so long, 1s to 30s (default 30s; five steps where that is longer)",
      },
      {
        flags: "--leave-grace <duration>",
        help: "a member that is asked to leave (SIGTERM) ends after so long even if nobody took over, 1s to 1h (default 25s)",
      },
    ],
    examples: ["shardctl up", "shardctl up --detach --data-dir ./state"],
    exits: [],
    ownsSignals: true,
    load: () => outside("commands/up"),
  },
  {
    path: ["down"],
    summary: "stop the control plane of the data directory and wait until it is gone",
    args: [],
    flags: [TIMEOUT],
    examples: ["shardctl down"],
    exits: [5],
    load: () => outside("commands/down"),
  },
  {
    path: ["apply"],
    summary: "create or update jobs",
    args: [],
    flags: [
      FILE,
      { flags: "--wait", help: "wait until every job has ended" },
      { flags: "--follow", help: "as --wait, with progress" },
      {
        flags: "--dry-run <where>",
        help: "check and plan, store nothing",
        choices: ["client", "server"],
      },
      TIMEOUT,
      ...OUTPUT_FLAGS,
    ],
    examples: [
      "shardctl apply -f job.yaml",
      "shardctl apply -f jobs/ --follow",
      "cat job.yaml | shardctl apply -f -",
    ],
    exits: [3, 4, 5, 6, 7, 8],
    load: () => import("./commands/apply.ts"),
  },
  {
    path: ["plan"],
    summary: "how a job would fit: bytes by category, step time, what was rejected and why",
    args: [],
    flags: [FILE, ...OUTPUT_FLAGS],
    examples: ["shardctl plan -f job.yaml", "shardctl plan -f job.yaml -o json"],
    exits: [6, 7, 8],
    load: () => import("./commands/plan.ts"),
  },
  {
    path: ["get"],
    summary: "list jobs, members, generations or checkpoints",
    args: ["<kind>", "[name]"],
    flags: [
      { flags: "-w, --watch", help: "after listing, every change (jobs only)" },
      ...OUTPUT_FLAGS,
    ],
    examples: [
      "shardctl get jobs",
      "shardctl get job support-tone -o yaml",
      "shardctl get members support-tone -o json",
      "shardctl get jobs -o jsonpath='{.items[*].metadata.name}'",
    ],
    exits: [7, 8],
    load: () => import("./commands/get.ts"),
  },
  {
    path: ["describe"],
    summary: "everything about one job",
    args: ["<job>"],
    flags: [],
    examples: ["shardctl describe job support-tone", "shardctl describe job/support-tone"],
    exits: [7, 8],
    load: () => import("./commands/describe.ts"),
  },
  {
    path: ["explain"],
    summary: "why a job waits, failed or is slow, and what would change it",
    args: ["<job>"],
    flags: [{ flags: "-o, --output <format>", help: "json, yaml or text" }],
    examples: ["shardctl explain support-tone"],
    exits: [7, 8],
    load: () => import("./commands/explain.ts"),
  },
  {
    path: ["logs"],
    summary: "what the members of a job wrote; works after they are gone",
    args: ["<job>"],
    flags: [
      { flags: "-f, --follow", help: "go on as lines come" },
      { flags: "--tail <lines>", help: "only the last lines" },
      { flags: "--rank <rank>", help: "of one rank" },
      { flags: "--member <name>", help: "of one member" },
      { flags: "--prefix", help: "begin each line with member and rank" },
      { flags: "--timestamps", help: "begin each line with its time" },
      {
        flags: "-o, --output <format>",
        help: "text, json (one object a line) or raw (not on a terminal)",
      },
    ],
    examples: ["shardctl logs support-tone", "shardctl logs -f support-tone --rank 0"],
    exits: [7, 8],
    load: () => import("./commands/logs.ts"),
  },
  {
    path: ["events"],
    summary: "every decision about a job, from the journal",
    args: ["[job]"],
    flags: [{ flags: "-w, --watch", help: "go on as they happen" }, ...OUTPUT_FLAGS],
    examples: [
      "shardctl events support-tone",
      "shardctl events -w",
      "shardctl events support-tone -o json",
    ],
    exits: [7, 8],
    load: () => import("./commands/events.ts"),
  },
  {
    path: ["wait"],
    summary: "wait for a condition, a step or the end of a job",
    args: ["<job>"],
    flags: [
      {
        flags: "--for <what>",
        help: "condition=Complete, condition=Failed, step=N or delete",
        required: true,
      },
      TIMEOUT,
    ],
    examples: [
      "shardctl wait job/support-tone --for=condition=Complete --timeout 10m",
      "shardctl wait job/tone --for=step=50",
    ],
    exits: [5, 7, 8],
    load: () => import("./commands/wait.ts"),
  },
  {
    path: ["blockmap"],
    summary: "who owns and who replicates which blocks of the state, as a picture",
    args: ["<job>"],
    flags: [
      {
        flags: "-o, --output <format>",
        help: "text, wide (with the runs of blocks), json, yaml or jsonpath=TEMPLATE",
      },
    ],
    examples: ["shardctl blockmap support-tone", "shardctl blockmap support-tone -o wide"],
    exits: [7, 8],
    load: () => import("./commands/blockmap.ts"),
  },
  {
    path: ["chaos"],
    summary: "make a fault on a job of this machine and follow until it has taken its next step",
    args: ["<job>", "<fault>"],
    flags: [
      { flags: "--rank <rank>", help: "of kill-rank, stop-rank and slow (default: by the seed)" },
      { flags: "--member <name>", help: "name or slot, of kill-member (default: by the seed)" },
      { flags: "--for <duration>", help: "of stop-rank (default 2s) and slow (default 30s)" },
      { flags: "--factor <number>", help: "of slow: times slower, above 1 to 20 (default 3)" },
      { flags: "--seed <number>", help: "chooses the rank or member (default: made up and said)" },
      TIMEOUT,
    ],
    examples: [
      "shardctl chaos support-tone kill-rank",
      "shardctl chaos support-tone kill-rank --rank 1 --yes",
      "shardctl chaos support-tone stop-rank --for 5s",
      "shardctl chaos support-tone slow --rank 1 --factor 3 --for 30s",
      "shardctl chaos support-tone kill-member --member 0",
      "shardctl chaos support-tone restart-control-plane",
    ],
    exits: [3, 4, 5, 7, 8],
    load: () => outside("commands/chaos"),
  },
  {
    path: ["verify-exact"],
    summary:
      "run a job undisturbed and with kills, and compare their bits; exit 1 when they differ",
    args: [],
    flags: [
      FILE,
      { flags: "--kills <count>", help: "kills during the disturbed run (default 3)" },
      { flags: "--seed <number>", help: "decides when and who (default 1)" },
      {
        flags: "--prey <what>",
        help: "what is killed: any (default), rank or member",
        choices: ["any", "rank", "member"],
      },
      { flags: "--members <count>", help: "instead of the job's own number of members" },
      { flags: "--keep", help: "leave both jobs and their checkpoints" },
      { flags: "--timeout <duration>", help: "longest wait for each run; exit 5 when it passes" },
      { flags: "-o, --output <format>", help: "text, json, yaml or jsonpath=TEMPLATE" },
    ],
    examples: [
      "shardctl verify-exact -f job.yaml",
      "shardctl verify-exact -f job.yaml --kills 5 --seed 42 --members 4",
    ],
    exits: [3, 4, 5, 6, 7, 8],
    load: () => outside("commands/verify-exact"),
  },
  {
    path: ["cancel"],
    summary: "end a job; what it saved stays",
    args: ["<job>"],
    flags: [{ flags: "--wait", help: "wait until it has ended" }, TIMEOUT],
    examples: ["shardctl cancel support-tone"],
    exits: [5, 7, 8],
    load: () => import("./commands/cancel.ts"),
  },
  {
    path: ["scale"],
    summary: "change the number of members of a running job; the weights stay the same to the bit",
    args: ["<job>"],
    flags: [{ flags: "--members <n>", help: "members from now on" }],
    examples: ["shardctl scale support-tone --members 4"],
    exits: [2, 7, 8],
    load: () => import("./commands/scale.ts"),
  },
  {
    path: ["delete"],
    summary: "forget a job, cancelling it first; its checkpoints stay unless asked for",
    args: ["<job>"],
    flags: [
      { flags: "--checkpoints", help: "remove its checkpoints too" },
      { flags: "--ignore-not-found", help: "a job that is gone already is success" },
    ],
    examples: [
      "shardctl delete job support-tone",
      "shardctl delete job/support-tone --checkpoints --yes",
    ],
    exits: [7, 8],
    load: () => import("./commands/delete.ts"),
  },
  ...RESULT_VERBS,
  ...MACHINE_VERBS,
  {
    path: ["__complete"],
    summary: "candidates for the last word",
    args: ["[words...]"],
    flags: [],
    examples: [],
    exits: [],
    passThrough: true,
    hidden: true,
    load: async () => ({ run: (await import("./commands/complete.ts")).completing(VERBS) }),
  },
];
