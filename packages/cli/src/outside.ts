import type { Run } from "./invocation.ts";

/**
 * Loads a verb that stays outside the bundle: it needs the services, or files beside its own. Works from the
 * bundle (dist/bundle), from dist and, in tests, from the sources.
 */
export async function outside(module: string): Promise<{ readonly run: Run }> {
  const own = import.meta.url;
  const folder = new URL(own.includes("/dist/bundle/") ? "../" : "./", own);
  const extension = own.endsWith(".ts") ? "ts" : "js";
  return (await import(new URL(`${module}.${extension}`, folder).href)) as { readonly run: Run };
}
