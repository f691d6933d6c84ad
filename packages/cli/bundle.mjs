// Makes dist/bundle: the command line as a few files, verbs loaded on demand, so that a cold start reads little.
// `--if-stale` does nothing when the bundle is newer than what it is made of.
import { existsSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const own = dirname(fileURLToPath(import.meta.url));
const dist = join(own, "dist");
const bundle = join(dist, "bundle");
const parts = ["cli", "proto", "job", "planner", "service"];

if (!process.argv.includes("--if-stale") || isStale()) {
  rmSync(bundle, { recursive: true, force: true });
  await build({
    entryPoints: [join(dist, "main.js")],
    outdir: bundle,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    minifySyntax: true,
    minifyWhitespace: true,
    // Names stay: stack traces below -v 6 are read by people.
    keepNames: false,
    legalComments: "none",
    logLevel: "warning",
    // Only the server side of grpc-js (channelz, admin) asks for it.
    external: ["@grpc/proto-loader"],
    // grpc-js is CommonJS and requires node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
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
