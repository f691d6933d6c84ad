// Makes dist/bundle: the command line as a few files, verbs loaded on demand, so that a cold start reads little.
// `--if-stale` does nothing when the bundle is newer than what it is made of.
import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const own = dirname(fileURLToPath(import.meta.url));
const dist = join(own, "dist");
const bundle = join(dist, "bundle");
// Whose dist goes into it.
const parts = ["cli", "proto", "job", "planner", "service"];

/** Bundles the built command line; returns esbuild's metafile. Nothing is written without `write`. */
export async function makeBundle({ write, outdir = bundle }) {
  const { metafile } = await build({
    entryPoints: [join(dist, "main.js")],
    outdir,
    bundle: true,
    write,
    metafile: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    minifySyntax: true,
    minifyWhitespace: true, // names stay: people read stack traces at -v 6
    legalComments: "none",
    logLevel: "warning",
    // Only the server side of grpc-js (channelz, admin) asks for it.
    external: ["@grpc/proto-loader"],
    // grpc-js is CommonJS and requires node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
  return metafile;
}

function isStale() {
  const main = join(bundle, "main.js");
  if (!existsSync(main)) return true;
  const made = statSync(main).mtimeMs;
  return parts.some((name) => {
    const info = join(own, "..", name, "dist", ".tsbuildinfo");
    return existsSync(info) && statSync(info).mtimeMs > made;
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!process.argv.includes("--if-stale") || isStale()) {
    // Beside, then renamed: an interrupted one must not look like a fresh one that lacks files.
    const beside = `${bundle}.${process.pid}.tmp`;
    try {
      await makeBundle({ write: true, outdir: beside });
      rmSync(bundle, { recursive: true, force: true });
      renameSync(beside, bundle);
    } finally {
      rmSync(beside, { recursive: true, force: true });
    }
  }
}
