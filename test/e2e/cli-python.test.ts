import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  cacheFolder,
  ensurePython,
  findBasePython,
  findPython,
  SetupProblem,
} from "../../packages/cli/bin/python-environment.mjs";

// The way an environment is made, with a package of one file from a folder instead of five gigabytes from an index.

const folder = mkdtempSync(join(tmpdir(), "shardctl-python-"));
const lock = join(folder, "requirements.lock");
const wheels = join(folder, "wheels");

/** The uv that an earlier set-up installed, or the one on PATH. */
function uvFolder(): string | undefined {
  const ours = join(cacheFolder(process.env), "uv", "bin");
  if (existsSync(join(ours, "uv"))) return ours;
  const found = spawnSync("sh", ["-c", "command -v uv"], { encoding: "utf8" }).stdout.trim();
  return found === "" ? undefined : dirname(found);
}
/** Makes an environment of nothing: enough for who, when and where. */
function standIn(): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const script = [
    "#!/bin/sh",
    'case "$1" in',
    "--version) echo uv 0.9.0 ;;",
    'venv) for last; do :; done; mkdir -p "$last/bin"; ln -s "$(command -v python3)" "$last/bin/python" ;;',
    "esac",
  ];
  writeFileSync(join(bin, "uv"), `${script.join("\n")}\n`);
  chmodSync(join(bin, "uv"), 0o755);
  return bin;
}
const installed = uvFolder();
if (installed === undefined)
  process.stdout.write(
    "no uv here (npm test installs one): a stand-in, and what needs its work is skipped\n",
  );
const uv = installed ?? standIn();

function environment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { SHARDWRIGHT_PYTHON: _, ...rest } = process.env;
  return {
    ...rest,
    HOME: process.env["HOME"] ?? homedir(),
    PATH: `${uv}:${process.env["PATH"] ?? ""}`,
    XDG_CACHE_HOME: mkdtempSync(join(folder, "cache-")),
    UV_NO_INDEX: "1",
    UV_FIND_LINKS: wheels,
    UV_OFFLINE: "1",
    ...more,
  };
}

/** A wheel is a zip with a RECORD; Python's own zipfile makes it. */
function makeWheel(): string {
  const script = `
import base64, hashlib, sys, zipfile
files = {"tiny_part.py": "ANSWER = 42\\n",
  "tiny_part-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny-part\\nVersion: 1.0\\n",
  "tiny_part-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
record = "".join(f"{name},sha256={digest(text)},{len(text)}\\n" for name, text in files.items())
files["tiny_part-1.0.dist-info/RECORD"] = record + "tiny_part-1.0.dist-info/RECORD,,\\n"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for name, text in files.items(): wheel.writestr(name, text)
`;
  const path = join(wheels, "tiny_part-1.0-py3-none-any.whl");
  const made = spawnSync(findBasePython(process.env).path, ["-c", script, path], {
    encoding: "utf8",
  });
  if (made.status !== 0) throw new Error(made.stderr);
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

beforeAll(() => {
  mkdirSync(wheels);
  writeFileSync(lock, `tiny-part==1.0 --hash=sha256:${makeWheel()}\n`);
});

describe("the Python environment", () => {
  it.skipIf(installed === undefined)(
    "is made once, under the name of what it is made of",
    async () => {
      const env = environment();
      const said: string[] = [];
      const python = await ensurePython({ env, lock, say: (line) => said.push(line) });
      const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 16);
      expect(python).toMatch(
        new RegExp(
          `/shardwright/python/${digest}-cp3\\d+-${process.platform}-[a-z0-9_]+/bin/python$`,
        ),
      );
      const answer = spawnSync(python, ["-c", "import tiny_part; print(tiny_part.ANSWER)"], {
        encoding: "utf8",
      });
      expect(answer.stdout).toBe("42\n");
      expect(said[0]).toContain("making a Python environment in");
      expect(findPython(env, lock)).toBe(python);
      const again: string[] = [];
      expect(await ensurePython({ env, lock, say: (line) => again.push(line) })).toBe(python);
      expect(again).toEqual([]);
    },
  );

  it.skipIf(installed === undefined)(
    "is not made of anything but what the lock's hashes name",
    async () => {
      const forged = join(folder, "forged.lock");
      writeFileSync(forged, `tiny-part==1.0 --hash=sha256:${"0".repeat(64)}\n`);
      const env = environment();
      const refused = ensurePython({ env, lock: forged, say: () => undefined });
      await expect(refused).rejects.toBeInstanceOf(SetupProblem);
      await expect(refused).rejects.toThrow(/hash/i);
      expect(leftOvers(env)).toEqual([]);
    },
  );

  it("is made by one of two that want it at the same time", async () => {
    const env = environment();
    const both = [1, 2].map(() => ensurePython({ env, lock, say: () => undefined }));
    const [first, second] = await Promise.all(both);
    expect(second).toBe(first);
    expect(leftOvers(env)).toEqual([first?.split("/").at(-3)]);
  });

  it("is made again after an interruption, which leaves nothing", async () => {
    const env = environment();
    const stop = new AbortController();
    const stopped = ensurePython({ env, lock, signal: stop.signal, say: () => stop.abort() });
    await expect(stopped).rejects.toThrow("interrupted");
    expect(leftOvers(env)).toEqual([]);
    expect(await ensurePython({ env, lock, say: () => undefined })).toContain(
      env["XDG_CACHE_HOME"],
    );
  });

  it("is made although a dead process holds the lock and left half of one", async () => {
    const env = environment();
    const { minor } = findBasePython(env);
    const where = join(env["XDG_CACHE_HOME"] ?? "", "shardwright", "python");
    const { pid } = spawn("true");
    await new Promise((resolve) => setTimeout(resolve, 50));
    mkdirSync(where, { recursive: true });
    const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 16);
    const machine =
      process.arch === "x64" ? "x86_64" : process.platform === "linux" ? "aarch64" : process.arch;
    const name = `${digest}-cp3${minor}-${process.platform}-${machine}`;
    writeFileSync(join(where, `${name}.lock`), `${pid}`);
    mkdirSync(join(where, `${name}.${pid}.tmp`));
    const python = await ensurePython({ env, lock, say: () => undefined });
    expect(leftOvers(env)).toEqual([name]);
    expect(python).toBe(join(where, name, "bin", "python"));
  });

  // Waits until an empty lock is old enough: above one second.
  it("is made although a lock was left empty", async () => {
    const env = environment();
    const where = join(env["XDG_CACHE_HOME"] ?? "", "shardwright", "python");
    mkdirSync(where, { recursive: true });
    const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 16);
    const made = await ensurePython({ env: environment(), lock, say: () => undefined });
    const name = made.split("/").at(-3) ?? "";
    expect(name).toContain(digest);
    writeFileSync(join(where, `${name}.lock`), "");
    await ensurePython({ env, lock, say: () => undefined });
    expect(leftOvers(env)).toEqual([name]);
  });

  it("is the interpreter that SHARDWRIGHT_PYTHON names, or a clear refusal", () => {
    const named = findBasePython(process.env).path;
    expect(findPython(environment({ SHARDWRIGHT_PYTHON: named }), lock)).toBe(named);
    expect(() => findPython(environment({ SHARDWRIGHT_PYTHON: "/nowhere/python" }), lock)).toThrow(
      /SHARDWRIGHT_PYTHON names \/nowhere\/python/,
    );
  });

  it("says what is missing when there is no Python", () => {
    expect(() => findBasePython({ PATH: wheels })).toThrow(/no Python >= 3\.11 with venv/);
  });
});

/** What lies in the cache's folder of environments. */
function leftOvers(env: NodeJS.ProcessEnv): readonly string[] {
  return readdirSync(join(env["XDG_CACHE_HOME"] ?? "", "shardwright", "python")).sort();
}
