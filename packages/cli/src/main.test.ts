import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { recordedIo } from "../../../test/support/recorded-io.ts";
import { EXIT, failureOf, Refusal } from "./exit.ts";
import type { Io } from "./io.ts";
import { main } from "./main.ts";
import { VERBS } from "./verbs.ts";
import { VERSION } from "./version.ts";

const NOBODY = mkdtempSync(join(tmpdir(), "shardctl-main-"));

interface Ran {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

async function shardctl(line: string, changes: Partial<Io> = {}): Promise<Ran> {
  const { io, said } = recordedIo(NOBODY, changes);
  const exit = await main(line === "" ? [] : line.split(" "), io);
  return { exit, ...said() };
}

describe("main", () => {
  it("shows short help and succeeds without arguments", async () => {
    const { exit, out, err } = await shardctl("");
    expect(exit).toBe(EXIT.done);
    expect(out).toContain("apply");
    expect(out).not.toContain("__complete");
    expect(err).toBe("");
  });

  it.each(["--help", "-h", "help", "get --help", "help get", "checkpoints verify --help"])(
    "%s is help on standard output",
    async (line) => {
      const { exit, out } = await shardctl(line);
      expect(exit).toBe(EXIT.done);
      expect(out).toContain("Usage:");
    },
  );

  it("puts examples first and exit codes last into the help of a verb", async () => {
    const { out } = await shardctl("wait --help");
    expect(out.indexOf("Examples:")).toBeLessThan(out.indexOf("Usage:"));
    expect(out.indexOf("Exit codes:")).toBeGreaterThan(out.indexOf("Options:"));
  });

  it.each([
    ["plann", 'unknown command "plann"; did you mean "plan"?'],
    ["frobnicate", 'unknown command "frobnicate"'],
    ["checkpoints verfy x", 'unknown command "verfy"; did you mean "verify"?'],
  ])("refuses %s with a suggestion", async (line, said) => {
    const { exit, out, err } = await shardctl(line);
    expect(exit).toBe(EXIT.usage);
    expect(err.split("\n")[0]).toBe(said);
    expect(out).toBe("");
  });

  it.each([
    "apply", // -f is required
    "wait job/x", // --for is required
    "get",
    "get jobs --frob",
    "get frobs",
    "get members",
    "get jobs extra words",
    "get job/x extra",
    "delete job x y",
    "describe pod x",
    "version now",
    "wait job/x --for=condition=Happy",
    "wait job/x --for=step=many",
    "wait job/x --for=delete --timeout soon",
    "logs x --rank two",
    "logs pod/x",
    "logs UPPER",
    "export x --out d --merge",
    "export x --out d --format gguf",
    "completion tcsh",
    "version -o xml",
    "version -o jsonpath={.a",
    "schema spec.tuning.rnak",
    "plan -f https://example.com/job.yaml",
    "plan -f missing.yaml",
  ])("%s is a usage error, said on standard error only", async (line) => {
    const { exit, out, err } = await shardctl(line);
    expect({ exit, out }).toEqual({ exit: EXIT.usage, out: "" });
    expect(err).not.toBe("");
  });

  it("says which words are too many, and how the verb is called", async () => {
    const { err } = await shardctl("delete job/x and more");
    expect(err).toBe(
      [
        'error: too many words: "and", "more"',
        "  why: usage: shardctl delete <job>; a job is NAME, job/NAME or job NAME",
        "  next: shardctl delete --help",
        "",
      ].join("\n"),
    );
  });

  it("does not repeat a word without end", async () => {
    const { err } = await shardctl(`delete x ${"y".repeat(10_000)}`);
    expect(err).toContain(`too many words: "${"y".repeat(20)}`);
    expect(err.length).toBeLessThan(300);
  });

  it("says in three lines that nobody serves the data directory", async () => {
    const { exit, err } = await shardctl("get jobs");
    expect(exit).toBe(EXIT.unreachable);
    expect(err).toBe(
      [
        "error: no control plane is running here",
        `  why: ${NOBODY}/server.json does not exist`,
        "  next: shardctl up --detach    (or name another data directory with --data-dir)",
        "",
      ].join("\n"),
    );
  });

  it("never sends the local token to a server that somebody else runs", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "shardctl-token-"));
    writeFileSync(join(dataDir, "token"), "sk-sw-secret-of-this-directory\n");
    writeFileSync(
      join(dataDir, "server.json"),
      JSON.stringify({ address: "127.0.0.1:1", tokenFile: join(dataDir, "token"), pid: 1 }),
    );
    const { exit, err } = await shardctl(`get jobs --server 192.0.2.1:7070 --data-dir ${dataDir}`);
    expect(exit).toBe(EXIT.denied);
    expect(err).toContain("no token for 192.0.2.1:7070");
  });

  it("takes an unreachable server for unreachable, not for broken", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "shardctl-dead-"));
    writeFileSync(join(dataDir, "token"), "sk-sw-secret-of-this-directory\n");
    writeFileSync(
      join(dataDir, "server.json"),
      JSON.stringify({ address: "127.0.0.1:1", tokenFile: join(dataDir, "token"), pid: 1 }),
    );
    const { exit, err } = await shardctl(`get jobs --data-dir ${dataDir}`);
    expect(exit).toBe(EXIT.unreachable);
    expect(err).toMatch(/^error: cannot reach 127\.0\.0\.1:1/);
  });
});

describe("verbs without a server", () => {
  it("version", async () => {
    expect((await shardctl("version")).out).toBe(`shardctl ${VERSION}\n`);
    const { out } = await shardctl("version -o json");
    expect(JSON.parse(out)).toMatchObject({ version: VERSION });
    expect((await shardctl("version -o jsonpath={.version}")).out).toBe(VERSION);
    expect((await shardctl("version -o yaml")).out).toContain(`version: ${VERSION}\n`);
  });

  it("schema shows the parser's own defaults", async () => {
    const { out } = await shardctl("schema spec.tuning");
    expect(out).toMatch(/^FIELD +TYPE +DEFAULT\n/);
    expect(out).toMatch(/spec\.tuning\.method +string +"lora"/);
    expect(out).not.toContain("spec.train");
    expect((await shardctl("schema model.source")).out).toContain("(required)");
  });

  it("apply --dry-run=client lists every problem with its path and where it stands", async () => {
    writeFileSync(join(NOBODY, "good.yaml"), aJob("good", ""));
    writeFileSync(
      join(NOBODY, "bad.yaml"),
      `${aJob("one", "")}---\n${aJob("Two", "  tunning: {}\n  train: {epochs: -1}\n")}`,
    );
    const good = await shardctl("apply -f good.yaml --dry-run client");
    expect(good).toEqual({
      exit: 0,
      out: "finetunejob.shardwright.dev/good valid (dry run)\n",
      err: "",
    });
    const bad = await shardctl("apply -f bad.yaml --dry-run client");
    expect(bad.exit).toBe(EXIT.usage);
    expect(bad.out).toBe("finetunejob.shardwright.dev/one valid (dry run)\n");
    expect(bad.err).toContain("bad.yaml#2");
    expect(bad.err).toContain("metadata.name");
    expect(bad.err).toContain("spec.tunning");
    expect(bad.err).toContain("spec.train.epochs");
  });

  it("data check names the line of every problem, and ends with 2 for errors only", async () => {
    const good = Array.from({ length: 10 }, (_, i) =>
      JSON.stringify({ prompt: `q${i}`, completion: `a${i}` }),
    );
    writeFileSync(join(NOBODY, "good.jsonl"), good.join("\n"));
    writeFileSync(
      join(NOBODY, "bad.jsonl"),
      [...good, '{"prompt": "cut', '{"prompt": 3}'].join("\n"),
    );
    writeFileSync(join(NOBODY, "packed.jsonl"), Buffer.from([0x1f, 0x8b, 8, 0]));
    const ok = await shardctl("data check good.jsonl");
    expect(ok.exit).toBe(EXIT.done);
    expect(ok.out).toMatch(/good\.jsonl: 10 examples .* 0 errors, .* fit to train on\n$/);
    const bad = await shardctl("data check bad.jsonl");
    expect(bad.exit).toBe(EXIT.usage);
    expect(bad.out).toMatch(/^error: line 11: /);
    expect(bad.out).toContain("line 12:");
    expect(JSON.parse((await shardctl("data check bad.jsonl -o json")).out)).toMatchObject({
      ok: false,
    });
    expect((await shardctl("data check packed.jsonl")).err).toContain("is gzip");
    expect((await shardctl("data check missing.jsonl")).exit).toBe(EXIT.usage);
  });

  it("__complete offers verbs, kinds and flags, and stays silent when it cannot", async () => {
    expect((await shardctl("__complete -- pl")).out).toBe("plan\n");
    expect((await shardctl("__complete -- checkpoints v")).out).toBe("verify\n");
    expect((await shardctl("__complete -- get m")).out).toBe("members\n");
    expect((await shardctl("__complete -- logs --fol")).out).toBe("--follow\n");
    expect(await shardctl("__complete -- logs x")).toEqual({ exit: 0, out: "", err: "" });
  });

  it.each(["bash", "zsh", "fish"])("completion %s is a script that asks back", async (shell) => {
    const { exit, out } = await shardctl(`completion ${shell}`);
    expect(exit).toBe(EXIT.done);
    expect(out).toContain("shardctl __complete --");
  });
});

function aJob(name: string, more: string): string {
  return [
    "apiVersion: shardwright.dev/v1alpha1",
    "kind: FineTuneJob",
    `metadata: {name: ${name}}`,
    "spec:",
    "  model: {source: file:///models/base}",
    "  data: {train: {source: file:///data/train.jsonl}}",
    more,
  ].join("\n");
}

describe("failureOf", () => {
  it("knows a fault by its shape: the bundle has a class of its own", () => {
    const fault = {
      name: "Fault",
      kind: "invalid",
      message: "bad",
      complaints: [{ path: "a", problem: "b" }],
    };
    expect(failureOf(fault)).toMatchObject({ exit: EXIT.usage, what: "bad", why: ["a: b"] });
  });

  it.each([
    ["unauthenticated", EXIT.denied],
    ["forbidden", EXIT.denied],
    ["unavailable", EXIT.unreachable],
    ["not_found", EXIT.error],
    ["internal", EXIT.error],
  ])("%s ends with %d", (kind, exit) => {
    expect(failureOf({ name: "Fault", kind, message: "", complaints: [] }).exit).toBe(exit);
  });

  it("knows a refusal by its shape as well", () => {
    const other = Object.assign(new Error("what"), {
      name: "Refusal",
      exit: 5,
      why: [],
      next: "go",
    });
    expect(failureOf(other)).toEqual({ exit: 5, what: "what", why: [], next: "go" });
  });

  it("keeps a refusal's own code and words", () => {
    const refusal = new Refusal(EXIT.doesNotFit, "what", { why: "why", next: "next" });
    expect(failureOf(refusal)).toEqual({ exit: 6, what: "what", why: ["why"], next: "next" });
  });
});

it("every verb has a summary, and every shown one an example", () => {
  for (const verb of VERBS) {
    expect(verb.summary, verb.path.join(" ")).not.toBe("");
    if (verb.hidden !== true) expect(verb.examples.length, verb.path.join(" ")).toBeGreaterThan(0);
  }
});
