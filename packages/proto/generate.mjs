// Regenerates packages/proto/src/gen and the trainer's _proto from protos/. With --check it fails when
// the committed files differ from what would be generated (Python needs grpcio-tools: the trainer's
// environment, or SHARDWRIGHT_PYTHON; without it the Python half is skipped and said so).
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { findPython } from "../../test/support/find-python.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const check = process.argv.includes("--check");
const scratch = mkdtempSync(join(tmpdir(), "shardwright-proto-"));

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${done.status}`);
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("__pycache__"))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

/** Names of files that differ between two folders. */
function differences(made, kept) {
  const names = new Set([...filesUnder(made), ...filesUnder(kept)]);
  return [...names].filter((name) => {
    try {
      return !readFileSync(join(made, name)).equals(readFileSync(join(kept, name)));
    } catch {
      return true;
    }
  });
}

function generateTypeScript(target) {
  const template = join(scratch, "buf.gen.yaml");
  const text = readFileSync(join(root, "buf.gen.yaml"), "utf8");
  writeFileSync(template, text.replace("packages/proto/src/gen", target));
  run(join(root, "node_modules/.bin/buf"), ["generate", "--template", template]);
}

function generatePython(python, target) {
  const protos = filesUnder(join(root, "protos")).filter((name) => name.endsWith(".proto"));
  run(python, [
    "-m",
    "grpc_tools.protoc",
    "-Iprotos",
    `--python_out=${target}`,
    `--pyi_out=${target}`,
    `--grpc_python_out=${target}`,
    ...protos,
  ]);
  for (const name of filesUnder(target)) {
    const path = join(target, name);
    const text = readFileSync(path, "utf8");
    writeFileSync(
      path,
      text.replaceAll(
        /^from shardwright\.v1 import/gm,
        "from shardwright_trainer._proto.shardwright.v1 import",
      ),
    );
    if (!/_service_pb2_grpc\.py$/.test(name) && name.endsWith("_pb2_grpc.py")) rmSync(path);
  }
  // JobService and CheckpointService are not spoken by the trainer; its agent speaks AgentService only.
  for (const name of filesUnder(target)) {
    if (/^shardwright\/v1\/(job_service|checkpoint_service|event|job)_pb2/.test(name))
      rmSync(join(target, name));
  }
  for (const folder of ["", "shardwright", "shardwright/v1"])
    writeFileSync(join(target, folder, "__init__.py"), "");
}

try {
  const parts = [["packages/proto/src/gen", "ts", generateTypeScript]];
  const python = findPython();
  if (python) {
    parts.push([
      "packages/trainer/shardwright_trainer/_proto",
      "py",
      (target) => generatePython(python, target),
    ]);
  } else {
    process.stderr.write("generate: no Python with grpcio-tools; the Python half is skipped\n");
  }
  for (const [kept, name, generate] of parts) {
    const made = join(scratch, name);
    cpSync(join(root, kept), made, { recursive: true });
    rmSync(made, { recursive: true });
    cpSync(join(root, "protos/shardwright/v1"), join(made, ".keep"), { recursive: true });
    rmSync(join(made, ".keep"), { recursive: true });
    generate(made);
    const changed = differences(made, join(root, kept));
    if (check && changed.length > 0) {
      process.stderr.write(
        `${kept} is not what protos/ generates: ${changed.join(", ")}; run npm run generate\n`,
      );
      process.exitCode = 1;
    } else if (!check && changed.length > 0) {
      rmSync(join(root, kept), { recursive: true });
      cpSync(made, join(root, kept), { recursive: true });
      process.stdout.write(`${kept}: ${changed.length} files changed\n`);
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
