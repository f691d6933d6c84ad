import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@shardwright/job/faults";
import type { JobView } from "@shardwright/job/phase";
import { jobToWire, planToWire } from "@shardwright/job/wire";
import {
  type Event,
  JobServiceService,
  type Member,
  type StreamLogsResponse,
  type SubmitJobRequest,
  type WatchJobsResponse,
} from "@shardwright/proto";
import { bearerAuth } from "@shardwright/service/auth";
import {
  type RpcServer,
  serverStream,
  startRpcServer,
  unary,
} from "@shardwright/service/rpc-server";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { aJob, aPlan, aRunningJob } from "../../../test/support/job-builder.ts";
import { recordedIo } from "../../../test/support/recorded-io.ts";
import { EXIT } from "./exit.ts";
import type { Io } from "./io.ts";
import { main } from "./main.ts";

// A JobService behind a real gRPC server: the verbs are what is tested, over the wire and with authentication.

const TOKEN = "sk-sw-0123456789abcdef";
const NOW = 100_000;

interface World {
  jobs: JobView[];
  /** What `watch` sends after the first state, in order. */
  changes: WatchJobsResponse[];
  logs: StreamLogsResponse[];
  events: Event[];
  members: Member[];
  fits: boolean;
  submitted: SubmitJobRequest[];
  removed: string[];
  /** The service answers `unavailable` this often before it works. */
  breaks: number;
}

let world: World;
let server: RpcServer;
let dataDir: string;

function job(name: string): JobView {
  const found = world.jobs.find((one) => one.name === name);
  if (found === undefined) throw new Fault("not_found", `job "${name}" was not found`);
  return found;
}

function implementation(drain: AbortSignal): Record<string, unknown> {
  return {
    submitJob: unary(async (request: SubmitJobRequest) => {
      world.submitted.push(request);
      const { metadata } = JSON.parse(request.documentJson) as { metadata: { name: string } };
      if (metadata.name === "refused") {
        const complaints = [
          { path: "spec.train.epochs", problem: "must be above 0" },
          { path: "spec.model.source", problem: "does not exist\u001b[31m" },
        ];
        throw new Fault("invalid", "the job is not valid", { complaints });
      }
      world.jobs.push({ ...aJob(), name: metadata.name });
      return { job: jobToWire(job(metadata.name)), outcome: "created", warnings: ["w"] };
    }),
    getJob: unary(async ({ name }: { name: string }) => {
      if (world.breaks > 0) {
        world.breaks -= 1;
        throw new Fault("unavailable", "restarting");
      }
      return { job: jobToWire(job(name)) };
    }),
    listJobs: unary(async () => ({
      jobs: world.jobs.map(jobToWire),
      nextPageToken: "",
      revision: 9n,
    })),
    watchJobs: serverStream(drain, async function* () {
      yield* world.changes;
    }),
    scaleJob: unary(async ({ name }: { name: string }) => ({ job: jobToWire(job(name)) })),
    cancelJob: unary(async ({ name }: { name: string }) => ({ job: jobToWire(job(name)) })),
    deleteJob: unary(async ({ name }: { name: string }) => {
      world.removed.push(job(name).name);
      return {};
    }),
    planJob: unary(async () => ({
      plan: planToWire({ ...aPlan(), fits: world.fits }),
      specJson: "{}",
      warnings: [],
    })),
    explainJob: unary(async () => ({
      reason: { code: "Waits", sentence: "2 members wanted, 1 slot free" },
      evidence: ["slot 0 is held by job b"],
      remedies: ["cancel job b"],
    })),
    streamLogs: serverStream(drain, async function* () {
      yield* world.logs;
    }),
    watchEvents: serverStream(drain, async function* (request: { afterSequence: bigint }) {
      yield* world.events
        .filter(({ sequence }) => sequence > request.afterSequence)
        .map((event) => ({ event }));
    }),
    listMembers: unary(async () => ({ members: world.members })),
    listGenerations: unary(async () => ({ generations: [] })),
    getBlockMap: unary(async () => ({ generation: 0n, blockMap: undefined, lanes: [] })),
  };
}

beforeEach(async () => {
  world = {
    jobs: [aJob({ name: "tone" }), { ...aRunningJob(), name: "busy" }],
    changes: [],
    logs: [],
    events: [],
    members: [],
    fits: true,
    submitted: [],
    removed: [],
    breaks: 0,
  };
  const drain = new AbortController();
  server = await startRpcServer({
    listen: "127.0.0.1:0",
    services: [
      {
        definition: JobServiceService,
        implementation: implementation(drain.signal) as never,
        authenticate: bearerAuth(TOKEN),
      },
    ],
    drain,
  });
  dataDir = mkdtempSync(join(tmpdir(), "shardctl-verbs-"));
  const tokenFile = join(dataDir, "token");
  writeFileSync(tokenFile, `${TOKEN}\n`);
  const file = { address: server.address, checkpointAddress: server.address, tokenFile, pid: 1 };
  writeFileSync(join(dataDir, "server.json"), JSON.stringify(file));
});
afterEach(async () => {
  await server.close();
});

interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

async function shardctl(line: string, changes: Partial<Io> = {}): Promise<Ran> {
  const { io, said } = recordedIo(dataDir, {
    readStdin: async () => document("piped"),
    now: () => NOW,
    ...changes,
  });
  const exit = await main(line.split(" "), io);
  return { exit, ...said() };
}

function document(name: string): string {
  return `apiVersion: shardwright.dev/v1alpha1\nkind: FineTuneJob\nmetadata: {name: ${name}}\nspec: {model: {source: "file://./base"}}\n`;
}

/** The job as it is when it has ended. */
function ended(name: string, state: "Complete" | "Failed" | "Cancelled"): WatchJobsResponse {
  const running = aRunningJob();
  const reason = { code: state, sentence: `it is ${state}` };
  const conditions = [{ type: state, status: "True", reason, lastTransitionMs: NOW }] as const;
  const view: JobView = {
    ...running,
    name,
    status: { ...running.status, state, reason, conditions },
  };
  return { change: "modified", job: jobToWire(view), revision: 10n };
}

describe("get", () => {
  it("jobs is a table with the printer columns", async () => {
    const { exit, out } = await shardctl("get jobs");
    expect(exit).toBe(EXIT.done);
    expect(out).toBe(
      [
        "NAME   STATE      STEP   TOKENS/S   MEMBERS   RECOVERIES   LAST-CKPT   AGE",
        "tone   Queued        -          -         -            0           -   99s",
        "busy   Running   7/100       1.0k       2/2            1         60s   99s",
        "",
      ].join("\n"),
    );
  });

  it.each(["jobs", "job", "ftj", "finetunejobs"])("%s means jobs", async (kind) => {
    const { out } = await shardctl(`get ${kind} -o name`);
    expect(out).toBe("finetunejob.shardwright.dev/tone\nfinetunejob.shardwright.dev/busy\n");
  });

  it("gives one object for a name and a list without", async () => {
    const list = JSON.parse((await shardctl("get jobs -o json")).out) as {
      kind: string;
      items: unknown[];
    };
    expect([list.kind, list.items.length]).toEqual(["List", 2]);
    const one = JSON.parse((await shardctl("get job/busy -o json")).out) as {
      kind: string;
      status: { progress: unknown };
    };
    expect(one.kind).toBe("FineTuneJob");
    expect(one.status.progress).toMatchObject({ step: 7, loss: "1.5" });
    expect((await shardctl("get job busy -o jsonpath={.status.membership.generation}")).out).toBe(
      "2",
    );
    expect((await shardctl("get job busy -o yaml")).out).toContain("state: Running\n");
  });

  it("says nothing on standard output when there is nothing", async () => {
    world.jobs = [];
    expect(await shardctl("get jobs")).toMatchObject({ exit: 0, out: "" });
    expect((await shardctl("get jobs -o json")).out).toBe(
      '{\n  "kind": "List",\n  "items": []\n}\n',
    );
  });

  it("ends with 1 for a job that is not there", async () => {
    const { exit, out, err } = await shardctl("get job nobody");
    expect({ exit, out }).toEqual({ exit: EXIT.error, out: "" });
    expect(err).toContain('error: job "nobody" was not found\n');
    expect(err).toContain("next: shardctl get jobs");
  });

  it("members is what scripts stand on", async () => {
    const rank = {
      rank: 1,
      pid: 42,
      laneBegin: 4,
      laneEnd: 8,
      ownedBlocksCount: 3,
      replicaBlocksCount: 2,
      state: "stepping",
    };
    const member = {
      name: "busy-m0",
      slot: 0,
      incarnation: 2,
      state: "running",
      node: "here",
      pid: 41,
      ranks: [rank],
    };
    world.members = [member, { ...member, name: "busy-m1", pid: 0, ranks: [] }];
    const { items } = JSON.parse((await shardctl("get members busy -o json")).out) as {
      items: unknown[];
    };
    expect(items[0]).toEqual({
      name: "busy-m0",
      slot: 0,
      incarnation: 2,
      state: "running",
      node: "here",
      pid: 41,
      ranks: [
        { rank: 1, pid: 42, lanes: [4, 8], ownedBlocks: 3, replicaBlocks: 2, state: "stepping" },
      ],
    });
    expect(items[1]).not.toHaveProperty("pid");
  });

  it("refuses a wrong token with 8", async () => {
    writeFileSync(join(dataDir, "other"), "sk-sw-not-this-one-at-all\n");
    const { exit, err } = await shardctl("get jobs --token-file other");
    expect(exit).toBe(EXIT.denied);
    expect(err).toContain("next: name the token");
  });
});

describe("apply", () => {
  it("prints what became of each document, in kubectl's words", async () => {
    writeFileSync(join(dataDir, "two.yaml"), `${document("one")}---\n${document("two")}`);
    const { exit, out, err } = await shardctl("apply -f two.yaml");
    expect(exit).toBe(EXIT.done);
    expect(out).toBe(
      "finetunejob.shardwright.dev/one created\nfinetunejob.shardwright.dev/two created\n",
    );
    expect(err).toBe("warning: w\nwarning: w\n");
    expect(JSON.parse(world.submitted[0]?.documentJson ?? "")).toMatchObject({
      spec: { model: { source: `file://${dataDir}/base` } },
    });
  });

  it("reads standard input and marks a dry run", async () => {
    const { out } = await shardctl("apply -f - --dry-run server");
    expect(out).toBe("finetunejob.shardwright.dev/piped created (dry run)\n");
    expect(world.submitted[0]?.dryRun).toBe(true);
  });

  it("lists every complaint with its path, made safe for a terminal, and ends with 2", async () => {
    writeFileSync(join(dataDir, "bad.yaml"), document("refused"));
    const { exit, out, err } = await shardctl("apply -f bad.yaml");
    expect({ exit, out }).toEqual({ exit: EXIT.usage, out: "" });
    expect(err).toBe(
      [
        "error: the job is not valid",
        "  why: spec.train.epochs: must be above 0",
        "  why: spec.model.source: does not exist\\x1b[31m",
        "",
      ].join("\n"),
    );
  });

  it("goes on after a document that is refused, and still ends with its code", async () => {
    writeFileSync(join(dataDir, "mixed.yaml"), `${document("refused")}---\n${document("fine")}`);
    const { exit, out, err } = await shardctl("apply -f mixed.yaml");
    expect(exit).toBe(EXIT.usage);
    expect(out).toBe("finetunejob.shardwright.dev/fine created\n");
    expect(err).toContain("error: mixed.yaml#1: the job is not valid");
  });

  it.each([
    ["Complete", EXIT.done],
    ["Failed", EXIT.jobFailed],
    ["Cancelled", EXIT.jobCancelled],
  ] as const)("--follow of a job that ends as %s ends with %d", async (state, exit) => {
    world.changes = [ended("piped", state)];
    const ran = await shardctl("apply -f - --follow");
    expect(ran.exit).toBe(exit);
    expect(ran.err).toContain(`job piped is ${state} after 7 steps: it is ${state}\n`);
    expect(ran.err).not.toContain("\u001b");
  });

  it("--follow on a terminal keeps one live line", async () => {
    world.changes = [
      { change: "modified", job: jobToWire({ ...aRunningJob(), name: "piped" }), revision: 9n },
      ended("piped", "Complete"),
    ];
    const { err } = await shardctl("apply -f - --follow", { stderrIsTty: true });
    expect(err).toContain("step 7/100  loss 1.500  1.0k tok/s  2/2 ranks gen 2  ckpt 5");
    expect(err).toContain("\r\u001b[K");
  });
});

describe("wait", () => {
  it.each([
    ["condition=Complete", "Complete", EXIT.done],
    ["condition=Failed", "Failed", EXIT.done],
    ["condition=Complete", "Failed", EXIT.error],
    ["step=7", "Complete", EXIT.done],
    ["step=8", "Complete", EXIT.error],
  ] as const)("for %s on a job that ends as %s ends with %d", async (goal, state, exit) => {
    world.changes = [ended("tone", state)];
    expect((await shardctl(`wait job/tone --for=${goal}`)).exit).toBe(exit);
  });

  it("ends with 5 when the time is over", async () => {
    const { exit, err } = await shardctl("wait job/tone --for=step=5 --timeout 50ms");
    expect(exit).toBe(EXIT.timeout);
    expect(err).toContain("next: shardctl explain tone");
  });

  it("goes over a restart of the control plane and says so once", async () => {
    world.breaks = 2;
    world.changes = [ended("tone", "Complete")];
    const { exit, err } = await shardctl("wait tone --for=condition=Complete --timeout 10s");
    expect(exit).toBe(EXIT.done);
    expect(err.match(/connection lost/g)).toHaveLength(1);
  });

  it("for=delete takes a job that is gone for deleted", async () => {
    expect((await shardctl("wait nobody --for=delete")).exit).toBe(EXIT.done);
    world.changes = [{ change: "deleted", job: undefined, revision: 11n }];
    expect((await shardctl("wait tone --for=delete")).exit).toBe(EXIT.done);
  });
});

describe("delete", () => {
  it("asks for the name of a job that runs, and takes nothing else", async () => {
    const tty = { stdinIsTty: true, stderrIsTty: true };
    const wrong = await shardctl("delete job/busy", { ...tty, ask: async () => "yes" });
    expect(wrong.exit).toBe(EXIT.error);
    expect(world.removed).toEqual([]);
    const right = await shardctl("delete job/busy", { ...tty, ask: async () => "busy" });
    expect(right).toMatchObject({ exit: 0, out: "finetunejob.shardwright.dev/busy deleted\n" });
    expect(world.removed).toEqual(["busy"]);
  });

  it("names the flag to use when there is nobody to ask", async () => {
    const { exit, err } = await shardctl("delete busy");
    expect(exit).toBe(EXIT.usage);
    expect(err).toContain("next: shardctl delete job/busy --yes");
    expect((await shardctl("delete busy --yes")).exit).toBe(EXIT.done);
  });

  it.each(["busy", "job/busy", "job busy", "finetunejob.shardwright.dev/busy"])(
    "%s names the job",
    async (words) => {
      const { exit, out } = await shardctl(`delete ${words} --yes`);
      expect({ exit, out }).toEqual({
        exit: EXIT.done,
        out: "finetunejob.shardwright.dev/busy deleted\n",
      });
      expect(world.removed).toEqual(["busy"]);
    },
  );

  it("--ignore-not-found", async () => {
    expect((await shardctl("delete nobody --yes")).exit).toBe(EXIT.error);
    expect((await shardctl("delete nobody --yes --ignore-not-found")).exit).toBe(EXIT.done);
  });
});

describe("plan, explain, logs, events, describe", () => {
  it("plan ends with 6 when nothing fits, and with 0 when it does", async () => {
    expect((await shardctl("plan -f -")).exit).toBe(EXIT.done);
    world.fits = false;
    const { exit, out, err } = await shardctl("plan -f -");
    expect(exit).toBe(EXIT.doesNotFit);
    expect(out).toContain("does not fit");
    expect(err).toContain("standard input does not fit");
    expect(JSON.parse((await shardctl("plan -f - -o json")).out)).toMatchObject({
      fits: false,
      lanes: 8,
    });
  });

  it("explain gives the reason, the evidence and the way out", async () => {
    expect((await shardctl("explain tone")).out).toBe(
      "2 members wanted, 1 slot free (Waits)\n\nEvidence\n  slot 0 is held by job b\n\nWhat would change it\n  cancel job b\n",
    );
  });

  it("logs are escaped on a terminal and raw in a file", async () => {
    const text = "loss\u001b]52;c;aGk=\u0007 1.2";
    world.logs = [
      { time: new Date(1_000), member: "busy-m0", rank: 1, generation: 2n, level: "info", text },
    ];
    expect((await shardctl("logs busy --prefix", { stdoutIsTty: true })).out).toBe(
      "[busy-m0/1] loss\\x1b]52;c;aGk=\\x07 1.2\n",
    );
    expect((await shardctl("logs busy")).out).toBe(`${text}\n`);
    expect((await shardctl("logs busy -o raw", { stdoutIsTty: true })).exit).toBe(EXIT.usage);
    expect((await shardctl("logs busy -f")).out).toBe(`${text}\n`);
    expect(JSON.parse((await shardctl("logs busy -o json")).out)).toMatchObject({ rank: 1, text });
  });

  it("events carry time, reason code and sentence", async () => {
    world.events = [anEvent(1n, "Placed", "placed on 2 slots")];
    const { items } = JSON.parse((await shardctl("events tone -o json")).out) as {
      items: unknown[];
    };
    expect(items).toEqual([
      {
        sequence: 1,
        time: "1970-01-01T00:01:39.000Z",
        job: "tone",
        severity: "normal",
        reason: "Placed",
        sentence: "placed on 2 slots",
        generation: 1,
        step: 0,
      },
    ]);
    expect((await shardctl("events tone")).out).toMatch(/^AGE +SEVERITY +REASON/);
  });

  it("describe shows the whole job", async () => {
    world.events = [anEvent(1n, "Placed", "placed on 2 slots")];
    const { exit, out } = await shardctl("describe job busy");
    expect(exit).toBe(EXIT.done);
    for (const part of [
      "State:",
      "Running",
      "Conditions:",
      "Admitted",
      "Plan:",
      "Exactness:       exact: the same bits whoever is lost or joins",
      "Events:",
      "placed on 2 slots",
    ]) {
      expect(out).toContain(part);
    }
  });
});

function anEvent(sequence: bigint, code: string, sentence: string): Event {
  return {
    sequence,
    tenant: "default",
    jobName: "tone",
    time: new Date(NOW - 1_000),
    reason: { code, sentence },
    generation: 1n,
    step: 0n,
    severity: "normal",
  };
}
