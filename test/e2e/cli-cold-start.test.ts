import { existsSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error a plain script without types
import { makeBundle } from "../../packages/cli/bundle.mjs";
import { ROOT, run } from "./harness.ts";

// What a verb costs before it does anything is what it imports. Times are measured in test/bench/cold-start.ts;
// this keeps the cause of a slow start out.

interface Output {
  readonly bytes: number;
  readonly entryPoint?: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly imports: readonly { readonly path: string; readonly kind: string }[];
}

let outputs: Readonly<Record<string, Output>>;

beforeAll(async () => {
  if (!existsSync(join(ROOT, "packages/cli/dist/main.js"))) throw new Error("npm run build first");
  ({ outputs } = (await makeBundle({ write: false })) as { outputs: Record<string, Output> });
});

/** Every file that is loaded when these entry points are, dynamic imports left out. */
function graphOf(...entries: readonly string[]): {
  readonly bytes: number;
  readonly inputs: readonly string[];
} {
  const waiting = entries.map((entry) => {
    const found = Object.keys(outputs).find((path) => outputs[path]?.entryPoint?.endsWith(entry));
    if (found === undefined) throw new Error(`the bundle has no entry ${entry}`);
    return found;
  });
  const seen = new Set<string>();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { path: imported, kind } of outputs[path]?.imports ?? []) {
      if (kind === "import-statement" && outputs[imported] !== undefined) waiting.push(imported);
    }
  }
  const loaded = [...seen].map((path) => outputs[path]);
  return {
    bytes: loaded.reduce((sum, output) => sum + (output?.bytes ?? 0), 0),
    inputs: loaded.flatMap((output) => Object.keys(output?.inputs ?? {})),
  };
}

const packagesOf = (inputs: readonly string[]): readonly string[] => {
  const found = inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(found.filter((name) => name !== undefined))].sort();
};

describe("what is loaded", () => {
  it("by `version`: commander and nothing else", () => {
    const { bytes, inputs } = graphOf("dist/main.js", "dist/commands/version.js");
    expect(packagesOf(inputs)).toEqual(["commander"]);
    expect(bytes).toBeLessThan(150_000);
  });

  it("by `get`: the wire, and nothing that reads files or serves", () => {
    const { bytes, inputs } = graphOf(
      "dist/main.js",
      "dist/commands/get.js",
      "dist/rpc/jobs.js",
      "dist/render/job-table.js",
      "job/dist/job-object.js",
    );
    const heavy = [
      "yaml",
      "zod",
      "pino",
      "prom-client",
      "pg",
      "@kubernetes/client-node",
      "@grpc/proto-loader",
    ];
    expect(packagesOf(inputs).filter((name) => heavy.includes(name))).toEqual([]);
    const services = inputs.filter((path) =>
      /(control-plane|checkpoint-manager|metrics-exporter)\//.test(path),
    );
    expect(services).toEqual([]);
    expect(bytes).toBeLessThan(1_100_000);
  });

  it("by no bundled verb at all: a service, or its server side", () => {
    const inputs = Object.values(outputs).flatMap((output) => Object.keys(output.inputs));
    expect(
      inputs.filter((path) => /control-plane\/|rpc-server|\/pino\/|\/pg\//.test(path)),
    ).toEqual([]);
  });
});

describe("the entry", () => {
  const shardctl = join(ROOT, "packages/cli/bin/shardctl");

  it("runs the repository's Node when the one it was started with is too old", async () => {
    const old = await run("node", ["--version"], { env: { PATH: process.env["PATH"] ?? "" } });
    const { code, stdout } = await run("node", [shardctl, "version", "-o", "json"]);
    expect(code, old.stdout).toBe(0);
    const { node } = JSON.parse(stdout) as { node: string };
    expect(Number.parseInt(node, 10)).toBeGreaterThanOrEqual(24);
  });

  it("loads from the bundle what it loads only when asked", async () => {
    const yaml = await run(process.execPath, [shardctl, "schema", "spec.tuning.r", "-o", "yaml"]);
    expect(yaml).toMatchObject({ code: 0, stdout: "spec.tuning.r: 16\n" });
    const path = await run(process.execPath, [shardctl, "version", "-o", "jsonpath={.version}"]);
    expect(path.stdout).toMatch(/^\d+\.\d+\.\d+$/);
    const job = JSON.stringify({ kind: "FineTuneJob" });
    const checked = await run(
      process.execPath,
      [shardctl, "apply", "-f", "-", "--dry-run", "client"],
      { stdin: job },
    );
    expect(checked.code).toBe(2);
    expect(checked.stderr).toContain("metadata");
  });

  it("ends with 0 when its reader goes away", async () => {
    const line = `"${process.execPath}" "${shardctl}" schema | head -n 1; exit \${PIPESTATUS[0]}`;
    const { code, stdout } = await run("bash", ["-c", line]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^FIELD/);
  });

  it("writes no control characters where nobody looks", async () => {
    for (const args of [
      ["--help"],
      ["get", "jobs", "--data-dir", "/nonexistent"],
      ["frobnicate"],
    ]) {
      const { stdout, stderr } = await run(process.execPath, [shardctl, ...args]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there.
      expect(stdout + stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    }
  });

  it("has no stack trace for a user's mistake, and one at -v 6", async () => {
    const args = [shardctl, "get", "jobs", "--data-dir", "/nonexistent"];
    expect((await run(process.execPath, args)).stderr).not.toContain("    at ");
    expect((await run(process.execPath, [...args, "-v", "6"])).stderr).toContain("    at ");
  });
});
