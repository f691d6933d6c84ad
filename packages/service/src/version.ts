import { readFileSync } from "node:fs";

/** The version of the package that a module in its `src` or `dist` belongs to. One version for everything. */
export function versionOf(moduleUrl: string): string {
  const manifest = new URL("../package.json", moduleUrl);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}
