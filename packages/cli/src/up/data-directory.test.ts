import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { holdDirectory, isServed } from "./data-directory.ts";

const aDirectory = (): string => join(mkdtempSync(join(tmpdir(), "shardctl-up-")), "state");
const SERVER = {
  address: "127.0.0.1:4000",
  checkpointAddress: "127.0.0.1:4001",
  metricsAddress: null,
  tokenFile: "token",
  pid: process.pid,
  version: "0.1.0",
};

/** Tries to hold the directory in a process of its own: locks of one process do not exclude each other. */
function holdElsewhere(dataDir: string): {
  readonly status: number | null;
  readonly stderr: string;
} {
  const module = fileURLToPath(new URL("./data-directory.ts", import.meta.url));
  const script = `import { holdDirectory } from ${JSON.stringify(module)}; holdDirectory(${JSON.stringify(dataDir)});`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
}

it("keeps a second process out, and says who serves", () => {
  const dataDir = aDirectory();
  const held = holdDirectory(dataDir);
  held.announce(SERVER);
  const second = holdElsewhere(dataDir);
  expect(second.status).not.toBe(0);
  expect(second.stderr).toContain(`process ${process.pid} at 127.0.0.1:4000 serves`);
  held.release();
  expect(existsSync(join(dataDir, "server.json"))).toBe(false);
  expect(holdElsewhere(dataDir).status).toBe(0);
});

it("is free again when its holder was killed, whatever that left behind", () => {
  const dataDir = aDirectory();
  expect(holdElsewhere(dataDir).status).toBe(0); // ended without a release
  writeFileSync(join(dataDir, "server.json"), JSON.stringify(SERVER));
  expect(isServed(dataDir)).toBe(false);
  const held = holdDirectory(dataDir);
  expect(existsSync(join(dataDir, "server.json"))).toBe(false);
  held.release();
});

it("keeps its token from one time to the next, for its owner only", () => {
  const dataDir = aDirectory();
  const first = holdDirectory(dataDir);
  expect(first.token).toMatch(/^sk-sw-[\w-]{43}$/);
  expect(statSync(first.tokenFile).mode & 0o777).toBe(0o600);
  first.announce(SERVER);
  expect(JSON.parse(readFileSync(join(dataDir, "server.json"), "utf8"))).toEqual(SERVER);
  first.release();
  const second = holdDirectory(dataDir);
  expect(second.token).toBe(first.token);
  second.release();
});
