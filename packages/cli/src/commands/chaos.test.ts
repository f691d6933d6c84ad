import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { recordedIo } from "../../../../test/support/recorded-io.ts";
import { EXIT, type ExitCode } from "../exit.ts";
import { main } from "../main.ts";

// What chaos, verify-exact and up refuse before they touch anything. The rest needs real processes: test/e2e.

interface Ran {
  readonly exit: ExitCode;
  readonly out: string;
  readonly err: string;
}

async function shardctl(dataDir: string, ...words: readonly string[]): Promise<Ran> {
  const { io, said } = recordedIo(dataDir);
  const exit = await main(words, io);
  return { exit, ...said() };
}

const aDirectory = (): string => mkdtempSync(join(tmpdir(), "shardctl-chaos-"));

function aJobFile(dataDir: string, spec: object, name = "tone"): string {
  const file = join(dataDir, "job.json");
  const whole = {
    model: { source: "file:///models/base" },
    data: { train: { source: "file:///data/train.jsonl" } },
    tuning: { method: "lora" },
    train: { maxSteps: 10 },
    ...spec,
  };
  const head = { apiVersion: "shardwright.dev/v1alpha1", kind: "FineTuneJob" };
  writeFileSync(file, JSON.stringify({ ...head, metadata: { name }, spec: whole }));
  return file;
}

it("refuses a control plane that is not of this machine's data directory", async () => {
  for (const words of [
    ["chaos", "tone", "kill-rank", "--yes"],
    ["verify-exact", "-f", "x.json"],
  ]) {
    const { exit, err } = await shardctl(aDirectory(), ...words, "--server", "10.1.2.3:443");
    expect(exit).toBe(EXIT.usage);
    expect(err).toContain(`${words[0]} works on an embedded control plane only\n`);
    expect(err).toContain("10.1.2.3:443 is not the one that serves");
  }
});

it("says when nobody serves the data directory", async () => {
  const dataDir = aDirectory();
  const nobody = await shardctl(dataDir, "chaos", "tone", "kill-rank", "--yes");
  expect(nobody.exit).toBe(EXIT.unreachable);
  expect(nobody.err).toContain("no control plane is running here");
});

it("knows its faults", async () => {
  const { exit, err } = await shardctl(aDirectory(), "chaos", "tone", "kill-rnak");
  expect(exit).toBe(EXIT.usage);
  expect(err).toContain("kill-rank, stop-rank, slow, kill-member, restart-control-plane");
});

it.each(["0s", "500ms", "2h"])(
  "up refuses --leave-grace %s before it holds anything",
  async (grace) => {
    const { exit, err } = await shardctl(aDirectory(), "up", "--leave-grace", grace);
    expect([exit, err]).toEqual([EXIT.usage, expect.stringContaining("expected 1s to 1h")]);
  },
);

/** A process of its own that holds the directory: locks of one process do not exclude each other. */
async function served(dataDir: string): Promise<() => void> {
  const module = fileURLToPath(new URL("../up/data-directory.ts", import.meta.url));
  const server = { address: "127.0.0.1:9", checkpointAddress: "127.0.0.1:9", metricsAddress: null };
  const script = `
    import { holdDirectory } from ${JSON.stringify(module)};
    const held = holdDirectory(${JSON.stringify(dataDir)});
    held.announce({ ...${JSON.stringify(server)}, tokenFile: held.tokenFile, pid: process.pid, version: "0" });
    console.log("held");
    setInterval(() => held.token, 1_000); // reachable, so that nobody collects the lock`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  await once(child.stdout, "data");
  return () => void child.kill("SIGKILL");
}

describe("a served directory", () => {
  const dataDir = aDirectory();
  let release: () => void;
  beforeAll(async () => {
    release = await served(dataDir);
  });
  afterAll(() => release());

  it.each([
    ["--kills 0", "--kills 0: expected 1 to 100"],
    ["--kills 101", "--kills 101: expected 1 to 100"],
    ["--kills some", "--kills some: expected a whole number"],
    ["--members 0", "--members 0: expected 1 or more"],
  ])("verify-exact refuses %s", async (flags, said) => {
    const words = ["verify-exact", "-f", aJobFile(dataDir, {}), ...flags.split(" ")];
    const { exit, err } = await shardctl(dataDir, ...words);
    expect([exit, err]).toEqual([EXIT.usage, expect.stringContaining(said)]);
  });

  it("verify-exact refuses a document that is wrong, and a name that only its ending makes right", async () => {
    const file = aJobFile(dataDir, { train: { maxSteps: -1 } });
    const wrong = await shardctl(dataDir, "verify-exact", "-f", file);
    expect([wrong.exit, wrong.err]).toEqual([
      EXIT.usage,
      expect.stringContaining("spec.train.maxSteps"),
    ]);
    const named = await shardctl(dataDir, "verify-exact", "-f", aJobFile(dataDir, {}, "tone-"));
    expect([named.exit, named.err]).toEqual([EXIT.usage, expect.stringContaining("metadata.name")]);
  });

  it("verify-exact refuses a job that does not promise the same bits", async () => {
    const file = aJobFile(dataDir, { exactness: "fast" });
    const { exit, err } = await shardctl(dataDir, "verify-exact", "-f", file);
    expect(exit).toBe(EXIT.usage);
    expect(err).toContain("spec.exactness is fast, so there is nothing to verify");
    expect(err).toContain("set spec.exactness to exact");
  });

  it("is not reachable when its address answers nobody", async () => {
    const words = ["chaos", "tone", "kill-rank", "--yes", "--request-timeout", "2s"];
    expect((await shardctl(dataDir, ...words)).exit).toBe(EXIT.unreachable);
  });

  it("says that a killed one is gone, whatever it left", async () => {
    const other = aDirectory();
    const kill = await served(other);
    const before = await shardctl(other, "verify-exact", "-f", "nothing.json");
    expect(before.err).toContain("cannot read nothing.json");
    kill();
    await expect
      .poll(async () => (await shardctl(other, "chaos", "tone", "kill-rank")).err)
      .toContain("no control plane is running here");
  });
});
