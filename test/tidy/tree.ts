import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Every file git knows or would add, relative to the root. */
export function filesOf(...patterns: string[]): string[] {
  const out = execFileSync(
    "git",
    ["ls-files", "--cached", "--others", "--exclude-standard", "--", ...patterns],
    { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 },
  );
  return out.split("\n").filter((line) => line !== "" && existing(line));
}

function existing(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch {
    return false;
  }
}

export function textOf(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** Source text without comments and string contents, so that words in prose do not count. */
export function codeOf(path: string): string {
  return textOf(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/(^|\s)\/\/.*$/gm, "")
    .replaceAll(/"(?:[^"\\\n]|\\.)*"/g, '""')
    .replaceAll(/`(?:[^`\\$]|\\.|\$(?!\{))*`/g, "``");
}

/** Module names a TypeScript file imports, type imports and dynamic ones included. */
export function importsOf(path: string): string[] {
  const text = textOf(path).replaceAll(/^\s*(\/\/|\*).*$/gm, "");
  const found = [
    ...text.matchAll(/(?:^|\n)\s*(?:import|export)[^;"']*?from\s*["']([^"']+)["']/g),
    ...text.matchAll(/(?:^|\n)\s*import\s*["']([^"']+)["']/g),
    ...text.matchAll(/import\(\s*["']([^"']+)["']\s*\)/g),
  ];
  return found.map((match) => match[1] ?? "");
}
