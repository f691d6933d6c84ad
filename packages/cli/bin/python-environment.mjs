// Finds or makes the trainer's Python environment. Plain JavaScript without dependencies, for any Node >= 20:
// bin/bootstrap.mjs uses it before anything is installed, src/up/python.ts afterwards.
//
// An environment lives in the user's cache and is named by what it is made of:
//   ${XDG_CACHE_HOME:-~/.cache}/shardwright/python/<16 hex of sha256(lock)>-cp<major><minor>-<platform>-<machine>
// It is made beside, under a lock file, and renamed when it is complete: a folder with that name is whole.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { INTERRUPTED, runChild, SetupProblem } from "./setup-step.mjs";
import { takeLock } from "./setup-lock.mjs";

export { INTERRUPTED, runChild, SetupProblem };

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

/** Hash-pinned requirements of the trainer. */
export const TRAINER_LOCK = join(ROOT, "packages", "trainer", "requirements.lock");

// torch and the trainer's own syntax want it.
const PYTHON_MINOR_MIN = 11;
const PYTHON_CANDIDATES = ["python3", "python3.13", "python3.12", "python3.11", "python3.14", "python"];
// Any release of these behaves the same for what is used here; uv promises nothing across 1.0.
const UV_REQUIREMENT = "uv>=0.5,<1";
const GIB = 1024 ** 3;

export function cacheFolder(env) {
  const named = env.XDG_CACHE_HOME;
  const base = named && isAbsolute(named) ? named : join(env.HOME || homedir(), ".cache");
  return join(base, "shardwright");
}

/** Path of a ready interpreter: SHARDWRIGHT_PYTHON, else the environment made of `lock`; undefined when there is none. */
export function findPython(env, lock = TRAINER_LOCK) {
  if (env.SHARDWRIGHT_PYTHON) {
    if (fs.existsSync(env.SHARDWRIGHT_PYTHON)) return env.SHARDWRIGHT_PYTHON;
    throw new SetupProblem(
      `SHARDWRIGHT_PYTHON names ${env.SHARDWRIGHT_PYTHON}, which does not exist`,
      "name a Python interpreter with the trainer's dependencies, or unset the variable",
    );
  }
  const folder = join(cacheFolder(env), "python");
  const wanted = new RegExp(`^${digestOf(lock)}-cp3(\\d+)-${process.platform}-${machine()}$`);
  const made = listed(folder).flatMap((name) => {
    const minor = wanted.exec(name)?.[1];
    const python = join(folder, name, "bin", "python");
    return minor !== undefined && fs.existsSync(python) ? [{ minor: Number(minor), python }] : [];
  });
  made.sort((a, b) => a.minor - b.minor);
  return made[0]?.python;
}

/**
 * As findPython, but makes the environment when there is none. `say` gets one line at a time. `signal` stops it;
 * then nothing is left behind but a cache of downloads.
 */
export async function ensurePython({ env, say, signal, lock = TRAINER_LOCK }) {
  const found = findPython(env, lock);
  if (found !== undefined) return found;
  const base = findBasePython(env);
  const folder = join(cacheFolder(env), "python");
  const name = `${digestOf(lock)}-cp3${base.minor}-${process.platform}-${machine()}`;
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const release = await takeLock(join(folder, `${name}.lock`), say, signal);
  try {
    const byAnother = findPython(env, lock); // made while we waited
    if (byAnother !== undefined) return byAnother;
    sweep(folder, name);
    return await make({ env, say, signal, lock, base, folder, name });
  } finally {
    release();
  }
}

async function make({ env, say, signal, lock, base, folder, name }) {
  const begun = Date.now();
  for (const line of whatItCosts(folder, lock)) say(line);
  const uv = await ensureUv({ env, say, signal, base });
  const beside = join(folder, `${name}.${process.pid}.tmp`);
  try {
    const run = (args) => runChild(uv, args, { env, say, signal });
    // Relocatable: the folder is renamed when it is complete, and scripts in it must survive that.
    await run(["venv", "--quiet", "--relocatable", "--no-project", "--python", base.path, beside]);
    const python = join(beside, "bin", "python");
    await run(["pip", "install", "--python", python, "--require-hashes", "--no-deps", "-r", lock]);
    if (/^torch==/m.test(fs.readFileSync(lock, "utf8"))) {
      say("importing torch once, to be sure that it works here");
      await runChild(python, ["-c", "import torch"], { env, say, signal });
    }
    rename(beside, join(folder, name));
  } finally {
    fs.rmSync(beside, { recursive: true, force: true });
  }
  say(`Python environment ready after ${Math.round((Date.now() - begun) / 1000)} s`);
  return join(folder, name, "bin", "python");
}

/** Another process may have been faster; its result is as good as ours. */
function rename(from, to) {
  try {
    fs.renameSync(from, to);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes(error.code)) throw error;
  }
}

function whatItCosts(folder, lock) {
  if (!/^torch==/m.test(fs.readFileSync(lock, "utf8"))) return [`making a Python environment in ${folder}`];
  const isCuda = process.platform === "linux" && process.arch === "x64";
  const size = isCuda
    ? "about 5.5 GB on disk (PyPI's PyTorch for Linux x86-64 is the CUDA build; it works on a CPU too)"
    : "about 1.5 GB on disk";
  const lines = [
    `making the trainer's Python environment in ${folder}`,
    `  ${size}; once per version of the lock`,
    "  expect under a minute where packages come at 1 Gbit/s; about ten minutes at 50 Mbit/s",
    "  who wants PyTorch's small CPU build configures its index for pip or uv first, or names an interpreter in SHARDWRIGHT_PYTHON",
  ];
  const free = freeBytes(folder);
  const wanted = isCuda ? 6.5 * GIB : 2 * GIB;
  if (free !== undefined && free < wanted) {
    lines.push(`  warning: only ${(free / GIB).toFixed(1)} GB are free there`);
  }
  return lines;
}

function freeBytes(folder) {
  try {
    const { bavail, bsize } = fs.statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined; // not every file system answers
  }
}

/** Path of uv: the one on PATH, else ours in the cache, installed there by pip when it is missing. */
async function ensureUv({ env, say, signal, base }) {
  if (spawnSync("uv", ["--version"], { env, stdio: "ignore" }).status === 0) return "uv";
  const folder = join(cacheFolder(env), "uv");
  const uv = join(folder, "bin", "uv");
  if (isProgram(uv)) return uv;
  say("installing uv (about 20 MB), which installs the rest quickly");
  const beside = `${folder}.${process.pid}.tmp`;
  try {
    await runChild(base.path, ["-m", "venv", beside], { env, say, signal });
    const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--only-binary", ":all:"];
    await runChild(join(beside, "bin", "python"), [...pip, UV_REQUIREMENT], { env, say, signal });
    fs.rmSync(folder, { recursive: true, force: true }); // one without a uv inside
    rename(beside, folder);
  } finally {
    fs.rmSync(beside, { recursive: true, force: true });
  }
  return uv;
}

function isProgram(path) {
  try {
    fs.accessSync(path, fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const PROBE =
  "import sys, importlib.util as u; print(sys.version_info[0], sys.version_info[1], int(u.find_spec('venv') is not None and u.find_spec('ensurepip') is not None), sys.executable)";

/** A Python on PATH that can make environments: {path, minor}. Throws a SetupProblem that says what is missing. */
export function findBasePython(env) {
  const seen = [];
  for (const name of PYTHON_CANDIDATES) {
    const probe = spawnSync(name, ["-I", "-c", PROBE], { env, encoding: "utf8", timeout: 20_000 });
    if (probe.status !== 0) continue;
    const [major, minor, canVenv, ...path] = probe.stdout.trim().split(" ");
    if (Number(major) !== 3 || Number(minor) < PYTHON_MINOR_MIN) seen.push(`${name} is ${major}.${minor}`);
    else if (canVenv !== "1") seen.push(`${name} ${major}.${minor} lacks the module venv`);
    else return { path: path.join(" "), minor: Number(minor) };
  }
  const found = seen.length > 0 ? ` (${seen.join("; ")})` : "";
  throw new SetupProblem(
    `no Python >= 3.${PYTHON_MINOR_MIN} with venv was found on PATH${found}`,
    process.platform === "darwin"
      ? "brew install python@3.13"
      : "Debian and Ubuntu: apt-get install python3 python3-venv; Fedora: dnf install python3; or name one in SHARDWRIGHT_PYTHON",
  );
}

/** What an interrupted run left; only called by who holds the lock. */
function sweep(folder, name) {
  for (const entry of listed(folder)) {
    if (entry.startsWith(`${name}.`) && entry.endsWith(".tmp")) {
      fs.rmSync(join(folder, entry), { recursive: true, force: true });
    }
  }
}

function listed(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function digestOf(lock) {
  return createHash("sha256").update(fs.readFileSync(lock)).digest("hex").slice(0, 16);
}

/** As Python's platform.machine() spells it. */
function machine() {
  if (process.arch === "x64") return "x86_64";
  return process.arch === "arm64" && process.platform === "linux" ? "aarch64" : process.arch;
}

/** `PATH` with a folder in front, for children that must find our node. */
export function withPath(env, folder) {
  return { ...env, PATH: `${folder}${delimiter}${env.PATH ?? ""}` };
}
