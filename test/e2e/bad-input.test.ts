import { randomBytes } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dataCases, specCases } from "./bad-input-cases.ts";
import { type Expected, each, faultsOf } from "./bad-input-judge.ts";
import { MODEL_CASES } from "./bad-input-models.ts";
import { spoilt } from "./bad-input-spoil.ts";
import { TRAINER_CASES } from "./bad-input-trainer.ts";
import {
  callRaw,
  descendantsOf,
  filesBelow,
  residentMiB,
  type Server,
  serverOf,
  throwAt,
  withClosedStdout,
} from "./bad-input-wire.ts";
import { Embedded, fixtures, type Ran, ROOT, tinyJob } from "./harness.ts";

// Everything a stranger or a mistake can hand in, through the real shardctl to one real control plane, which is
// asked in the end whether it still trains. Calls run a few at a time: each is a process of its own.

// A heap that was used once stays with the process; a leak over this many calls is far more.
const GROWTH_MIB_MAX = 150;
const SECRET = "s3cret-0f-s0mebody";

let shardwright: Embedded;
let folder: string;
let place: string;
let server: Server;
let filesBefore: readonly string[];
let memoryBefore: number;
let temporary: string | undefined;
let filesCount = 0;

beforeAll(async () => {
  folder = await fixtures();
  place = mkdtempSync(join(tmpdir(), "shardwright-bad-input-"));
  for (const kind of ["specs", "data", "models", "jobs", "tmp"]) mkdirSync(join(place, kind));
  temporary = process.env["TMPDIR"];
  process.env["TMPDIR"] = join(place, "tmp");
  shardwright = await Embedded.start();
  server = serverOf(shardwright.dataDir);
  // A first dry run loads what is loaded late; what comes then is growth.
  const good = jobFile("warm-up", {});
  expect(await shardwright.ctl("apply", "--dry-run", "server", "-f", good)).toMatchObject({
    code: 0,
  });
  memoryBefore = residentMiB(shardwright.upPid);
  filesBefore = filesBelow(shardwright.dataDir);
});
afterAll(async () => {
  if (temporary === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = temporary;
  await shardwright.stop();
  rmSync(place, { recursive: true, force: true });
});

/** The good tiny job with a part of its spec replaced, in a file outside the data directory. */
function jobFile(name: string, spec: Record<string, unknown>): string {
  const file = join(place, "jobs", `${name}.json`);
  const job = tinyJob(folder, { name, members: 1, steps: 2, extra: spec });
  writeFileSync(file, JSON.stringify(job));
  return file;
}

function refused(ran: Ran, expected: Omit<Expected, "secrets">): string[] {
  return faultsOf(ran, { ...expected, secrets: [server.token, SECRET] });
}

/** Every case that was not refused as it should have been: compared with none, all are shown at once. */
function wrong<C extends { readonly mentions: readonly string[] }>(
  answers: readonly [C, Ran][],
  name: (one: C) => string,
): string[] {
  return answers.flatMap(([one, ran]) =>
    refused(ran, { code: 2, mentions: one.mentions }).map((fault) => `${name(one)}: ${fault}`),
  );
}

function whereOf(path: string, line: number | null): string {
  return line === null ? `${path}: ` : `${path} line ${line}: `;
}

/** What lies beside the data directory in the folder for temporary files; torch makes one cache for all. */
function temporaryFiles(): readonly string[] {
  return readdirSync(join(place, "tmp")).filter(
    (name) => name !== basename(shardwright.dataDir) && !name.startsWith("torchinductor_"),
  );
}

async function nothingIsLeft(): Promise<void> {
  const jobs = await shardwright.json<{ items: { metadata: { name: string } }[] }>("get", "jobs");
  expect(jobs.items.map(({ metadata }) => metadata.name)).toEqual([]);
  expect(filesBelow(shardwright.dataDir)).toEqual(filesBefore);
  expect(temporaryFiles()).toEqual([]);
  expect(descendantsOf(shardwright.upPid)).toEqual([]);
}

describe("malformed job documents", () => {
  it("are refused with path or line, and leave nothing", async () => {
    const cases = specCases(join(place, "specs"));
    expect(cases.length).toBeGreaterThan(100);
    const answers = await each(cases, ({ path }) => shardwright.ctl("apply", "-f", path));
    expect(wrong(answers, ({ file }) => file)).toEqual([]);
    await nothingIsLeft();
  });

  it("are refused before anything of a file is read that is too large, endless or no file", async () => {
    mkdirSync(join(place, "nothing"));
    writeFileSync(join(place, "empty.yaml"), "");
    const cases = [
      { name: "an empty file", file: join(place, "empty.yaml"), mentions: ["no documents"] },
      { name: "an empty folder", file: join(place, "nothing"), mentions: ["no documents"] },
      { name: "nothing", file: join(place, "absent.yaml"), mentions: ["no such file"] },
      { name: "a device", file: "/dev/zero", mentions: ["/dev/zero is too large"] },
      { name: "noise", file: process.execPath, mentions: ["is too large"] },
      { name: "a URL", file: "https://example.invalid/job.yaml", mentions: ["not fetched"] },
      { name: "an empty name", file: "", mentions: ["cannot read"] },
    ];
    const answers = await each(cases, ({ file }) => shardwright.ctl("apply", "-f", file));
    expect(wrong(answers, ({ name }) => name)).toEqual([]);
    await nothingIsLeft();
  });

  it("do not keep the good ones of a folder from being looked at", async () => {
    const jobs = join(place, "two");
    mkdirSync(jobs);
    cpSync(jobFile("good", {}), join(jobs, "good.json"));
    cpSync(jobFile("bad", { priority: "high" }), join(jobs, "bad.json"));
    const ran = await shardwright.ctl("apply", "--dry-run", "server", "-f", jobs);
    expect(ran).toMatchObject({ code: 2, stdout: expect.stringContaining("/good created") });
    expect(ran.stderr).toContain("bad.json");
    expect(ran.stderr).toContain("spec.priority");
    await nothingIsLeft();
  });
});

describe("malformed training files", () => {
  it("are refused with file and line, and leave nothing", async () => {
    const cases = dataCases(join(place, "data")).map((one) => ({
      ...one,
      mentions: [
        // Told by its first bytes, before there are lines.
        one.file === "gzip.jsonl" ? `${one.path} is gzip` : whereOf(one.path, one.line),
      ],
    }));
    expect(cases.length).toBeGreaterThan(80);
    const answers = await each(cases, ({ path, map }) => {
      const data = { train: { source: `file://${path}` }, map };
      return shardwright.ctl("apply", "-f", jobFile(`data-${++filesCount}`, { data }));
    });
    expect(wrong(answers, ({ file }) => file)).toEqual([]);
    await nothingIsLeft();
  });

  it("are told apart from what is no training file", async () => {
    const at = (name: string, bytes: Buffer): string => {
      writeFileSync(join(place, name), bytes);
      return join(place, name);
    };
    symlinkSync("loop.jsonl", join(place, "loop.jsonl"));
    symlinkSync("/dev/zero", join(place, "zero.jsonl"));
    const cases = [
      { path: join(place, "absent.jsonl"), mentions: ["does not exist"] },
      { path: join(place, "loop.jsonl"), mentions: ["cannot be read"] },
      { path: join(place, "zero.jsonl"), mentions: ["no regular file"] },
      { path: join(place, "nothing"), mentions: ["train.jsonl"] },
      { path: at("rows.jsonl", Buffer.from([0x1f, 0x8b, 8, 0])), mentions: ["gzip"] },
      { path: at("table.csv", Buffer.from("PAR1")), mentions: ["Parquet"] },
      { path: at("rows.pkl", Buffer.from("\x80\x04.")), mentions: ["must end in .jsonl"] },
      { path: at("noise.jsonl", randomBytes(100_000)), mentions: ["noise.jsonl line 1"] },
    ];
    const answers = await each(cases, ({ path }) =>
      shardwright.ctl(
        "apply",
        "-f",
        jobFile(`data-${++filesCount}`, {
          data: { train: { source: `file://${path}` } },
        }),
      ),
    );
    expect(wrong(answers, ({ path }) => path)).toEqual([]);
    await nothingIsLeft();
  });
});

describe("malformed model folders", () => {
  const applyModel = (name: string, source: string): Promise<Ran> =>
    shardwright.ctl("apply", "-f", jobFile(name, { model: { source: `file://${source}` } }));

  it("are refused with file or field, without loading anything, and leave nothing", async () => {
    const good = join(folder, "models/tiny-llama");
    const cases = MODEL_CASES.filter(({ needsModes }) => !needsModes || process.getuid?.() !== 0);
    const answers = await each(cases, (one) =>
      applyModel(one.name, spoilt(good, join(place, "models"), one)),
    );
    expect(wrong(answers, ({ name }) => name)).toEqual([]);
    await nothingIsLeft();
  });

  it("never show what a link leads to, and may be made of links as caches are", async () => {
    writeFileSync(join(place, "secret"), `${SECRET}\n`);
    const good = join(folder, "models/tiny-llama");
    const link = (name: string, files: Readonly<Record<string, string>>): string => {
      mkdirSync(join(place, "models", name));
      for (const [file, target] of Object.entries(files)) {
        symlinkSync(target, join(place, "models", name, file));
      }
      return join(place, "models", name);
    };
    const files = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    const whole = Object.fromEntries(files.map((file) => [file, join(good, file)]));
    const secret = join(place, "secret");
    const leaks = [
      { name: "config-a-secret", file: "config.json" },
      { name: "weights-a-secret", file: "model.safetensors" },
    ].map((one) => ({ ...one, mentions: [one.file] }));
    const answers = await each(leaks, ({ name, file }) =>
      applyModel(name, link(name, { ...whole, [file]: secret })),
    );
    expect(wrong(answers, ({ name }) => name)).toEqual([]);
    const cache = jobFile("linked", { model: { source: `file://${link("linked", whole)}` } });
    expect(await shardwright.ctl("apply", "--dry-run", "server", "-f", cache)).toMatchObject({
      code: 0,
    });
    await nothingIsLeft();
  });

  it("that do not fit are refused with 6 and what was tried", async () => {
    const large = {
      name: "too-large",
      spoil: (one: string) =>
        writeFileSync(
          join(one, "config.json"),
          JSON.stringify({
            model_type: "llama",
            hidden_size: 65_536,
            intermediate_size: 262_144,
            num_hidden_layers: 200,
            num_attention_heads: 64,
            vocab_size: 264,
            max_position_embeddings: 512,
          }),
        ),
    };
    const good = join(folder, "models/tiny-llama");
    const ran = await applyModel("too-large", spoilt(good, join(place, "models"), large));
    expect(refused(ran, { code: 6, mentions: ["the job does not fit", "plan: "] })).toEqual([]);
    await nothingIsLeft();
  });
});

describe("hostile names, verbs and flags", () => {
  const VERBS = [
    ["get", "job"],
    ["get", "members"],
    ["get", "generations"],
    ["get", "checkpoints"],
    ["describe", "job"],
    ["explain"],
    ["logs"],
    ["events"],
    ["wait", "--for=condition=Complete", "--timeout", "5s"],
    ["cancel"],
    ["delete", "--yes"],
    ["export", "--format", "peft", "--out", "OUT"],
    ["checkpoints", "list"],
    ["checkpoints", "inspect"],
    ["checkpoints", "verify"],
  ];
  const NAMES = ["../../x", "Ünï", "a".repeat(10_000), "a\u001b[2Jb"];

  it("are refused by every verb that takes one", async () => {
    const cases = VERBS.flatMap((verb) => NAMES.map((name) => ({ verb, name, mentions: [] })));
    const answers = await each(cases, ({ verb, name }) =>
      shardwright.ctl(...verb.map((word) => (word === "OUT" ? join(place, "out") : word)), name),
    );
    const faults = answers.flatMap(([{ verb, name }, ran]) => {
      // A name of the right letters may be asked for: there is no such job.
      const code = /^a+$/.test(name) && ran.code === 1 ? 1 : 2;
      const said = refused(ran, { code, mentions: [] });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is its purpose.
      if (/[\u001b]/.test(ran.stderr)) said.push("lets a terminal sequence through");
      if (ran.stderr.length > 2_000) said.push(`repeats ${ran.stderr.length} characters`);
      return said.map((fault) => `${verb.join(" ")} ${name.slice(0, 20)}: ${fault}`);
    });
    expect(faults).toEqual([]);
    await nothingIsLeft();
  });

  it("are met with what was meant", async () => {
    const cases = [
      { line: ["gett", "jobs"], mentions: ['did you mean "get"?'] },
      { line: ["aply", "-f", "x"], mentions: ['did you mean "apply"?'] },
      { line: ["checkpoints", "verfy", "x"], mentions: ['did you mean "verify"?'] },
      { line: ["\u001b[2J"], mentions: ["unknown command", "--help"] },
      { line: ["get", "flarbs"], mentions: ['unknown kind "flarbs"', "expected jobs"] },
      { line: ["get", "jobs", "--outptu", "json"], mentions: ["--outptu"] },
      { line: ["get", "jobs", "-o", "xml"], mentions: ["xml"] },
      { line: ["get", "jobs", "-o", "jsonpath={.items["], mentions: ["jsonpath"] },
      { line: ["get", "jobs", "-n", "../x"], mentions: ["tenant"] },
      { line: ["get", "jobs", "--request-timeout", "soon"], mentions: ["soon"] },
      { line: ["apply"], mentions: ["-f, --filename"] },
      { line: ["wait", "x", "--for=condition=Happy"], mentions: ["Happy"] },
      { line: ["wait", "x", "--for=step=-1"], mentions: ["step"] },
      { line: ["logs", "x", "--tail", "-3"], mentions: ["tail"] },
      { line: ["logs", "x", "--rank", "1.5"], mentions: ["rank"] },
      { line: ["export", "x", "--format", "pickle", "--out", "o"], mentions: ["pickle"] },
      { line: ["completion", "csh"], mentions: ["csh"] },
      { line: ["schema", "spec.nothing"], mentions: ["spec.nothing"] },
      { line: ["data", "check", join(place, "absent.jsonl")], mentions: ["no such file"] },
      { line: ["data", "check", "/dev/zero"], mentions: ["/dev/zero"] },
    ];
    const answers = await each(cases, ({ line }) => shardwright.ctl(...line));
    expect(wrong(answers, ({ line }) => line.join(" "))).toEqual([]);
  });

  it("end with 0 when the reader of stdout is gone", async () => {
    const shardctl = join(ROOT, "packages/cli/bin/shardctl");
    const lines = [
      ["schema", "-o", "json"],
      ["completion", "bash"],
      ["get", "jobs", "-o", "json"],
    ];
    for (const line of lines) {
      const args = [shardctl, ...line, "--data-dir", shardwright.dataDir];
      expect(await withClosedStdout(process.execPath, args), line.join(" ")).toBe(0);
    }
  });
});

describe("malformed calls", () => {
  it("that are no gRPC are hung up on", async () => {
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    const frame = Buffer.from("ffffff0400000000ff", "hex");
    await Promise.all(
      [
        randomBytes(65_536),
        Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        Buffer.alloc(1_000_000, 0xff),
        Buffer.concat([preface, randomBytes(4_096)]),
        Buffer.concat([preface, frame, randomBytes(4_096)]),
      ].map((bytes) => throwAt(server.address, bytes)),
    );
    await nothingIsLeft();
  });

  it("without the token get nothing, with 8", async () => {
    for (const authorization of ["", "Bearer", "Bearer wrong-token-of-somebody", "Basic eA=="]) {
      const answer = await callRaw(server, { metadata: { authorization } });
      expect(answer.code, authorization).toBe(status.UNAUTHENTICATED);
    }
    const file = join(place, "wrong-token");
    writeFileSync(file, `wrong-${SECRET}\n`);
    const wrongToken = await shardwright.ctl("get", "jobs", "--token-file", file);
    expect(refused(wrongToken, { code: 8, mentions: ["token is not valid"] })).toEqual([]);
    const none = await shardwright.ctl("get", "jobs", "--token-file", join(place, "absent"));
    expect(refused(none, { code: 8, mentions: ["cannot read the token file"] })).toEqual([]);
    const nobody = await shardwright.ctl(
      "get",
      "jobs",
      "--server",
      "127.0.0.1:1",
      "--token-file",
      file,
    );
    expect(refused(nobody, { code: 7, mentions: ["127.0.0.1:1"] })).toEqual([]);
  });

  it("are answered as invalid, or cut at a limit", async () => {
    const job = JSON.stringify(tinyJob(folder, { name: "raw" }));
    const code = async (call: Parameters<typeof callRaw>[1]): Promise<string> =>
      status[(await callRaw(server, call)).code];
    const document = (documentJson: string) => code({ request: { documentJson } });
    expect(await document("")).toBe("INVALID_ARGUMENT");
    expect(await document("null")).toBe("INVALID_ARGUMENT");
    expect(await document("[".repeat(200_000))).toBe("INVALID_ARGUMENT");
    expect(await document(job.replace('"raw"', '"r\\u0000w"'))).toBe("INVALID_ARGUMENT");
    expect(await document(job.replace('"raw"', '"../../raw"'))).toBe("INVALID_ARGUMENT");
    expect(await document(job.replace('"raw"', '"rаw"'))).toBe("INVALID_ARGUMENT"); // Cyrillic а
    expect(await document(job.replace('"raw"', `"${"r".repeat(10_000)}"`))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(await document(job.replace("train.jsonl", "tr\\u0000ain.jsonl"))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(await document(job.replace("train.jsonl", "%00.jsonl"))).toBe("INVALID_ARGUMENT");
    expect(await document(job.replace("0.005", "1e999"))).toBe("INVALID_ARGUMENT");
    expect(await document(job + " ".repeat(3 * 1024 * 1024))).toBe("INVALID_ARGUMENT");
    expect(await document(job + " ".repeat(8 * 1024 * 1024))).toBe("RESOURCE_EXHAUSTED");
    expect(await code({ request: { documentJson: job, tenant: "../x" } })).toBe("INVALID_ARGUMENT");
    expect(
      await code({ request: { documentJson: job, requestId: "x".repeat(10_000), dryRun: false } }),
    ).toBe("INVALID_ARGUMENT");
    expect(
      await code({
        request: { documentJson: job },
        metadata: { "x-large": "x".repeat(1_000_000) },
      }),
    ).not.toBe("OK");
    expect(await document(job)).toBe("OK");
    await nothingIsLeft();
  });
});

describe("what only the trainer can see", () => {
  it("ends the job Failed for the user's reason with 3, and leaves no process and no export", async () => {
    const good = join(folder, "models/tiny-llama");
    const answers = await Promise.all(
      TRAINER_CASES.map(async (one) => {
        const source = spoilt(good, join(place, "models"), one);
        const file = jobFile(one.name, { model: { source: `file://${source}` } });
        return [
          one,
          await shardwright.ctl("apply", "--wait", "--timeout", "240s", "-f", file),
        ] as const;
      }),
    );
    const faults: string[] = [];
    for (const [{ name, mentions }, ran] of answers) {
      const { status: now } = await shardwright.json<{
        status: { reason: string; message: string };
      }>("get", "job", name);
      const sentence = now.message;
      const missing = mentions.filter((text) => !sentence.includes(text));
      const isClean = !/Traceback|^ {4}at /m.test(sentence + ran.stderr);
      if (ran.code === 3 && now.reason === "UserError" && missing.length === 0 && isClean) continue;
      faults.push(`${name}: ${ran.code} ${now.reason}: ${sentence} misses ${missing.join(", ")}`);
    }
    expect(faults).toEqual([]);
    // The meeting place of ranks stays: it is the control plane's, for all jobs.
    const ofJobs = (): readonly string[] =>
      descendantsOf(shardwright.upPid).filter(
        (one) => !/shardwright_trainer\.agent\.store/.test(one),
      );
    await expect.poll(ofJobs, { timeout: 20_000 }).toEqual([]);
    expect(temporaryFiles()).toEqual([]);
    expect(
      filesBelow(shardwright.dataDir).filter((path) => /export|\.safetensors$/.test(path)),
    ).toEqual([]);
  });
});

describe("after all this", () => {
  it("the control plane still trains, in little more memory", async () => {
    const job = await shardwright.finish(tinyJob(folder, { name: "good", steps: 4 }));
    expect(job.status.state).toBe("Complete");
    expect(residentMiB(shardwright.upPid) - memoryBefore).toBeLessThan(GROWTH_MIB_MAX);
  });
});
