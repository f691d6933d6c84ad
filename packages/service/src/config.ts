import { readFileSync } from "node:fs";
import { z } from "zod";

/** Variables of the environment that only the command line reads; no service complains about them. */
const READ_ELSEWHERE = new Set([
  "SHARDWRIGHT_PYTHON",
  "SHARDWRIGHT_DATA_DIR",
  "SHARDWRIGHT_TOKEN",
  "SHARDWRIGHT_ADDRESS",
]);

/** `host:port`, port 0 to 65535; IPv6 in brackets. */
export const listenAddress = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "expected host:port")
  .refine((text) => Number(text.slice(text.lastIndexOf(":") + 1)) <= 65_535, "port above 65535");

/**
 * Parses the SHARDWRIGHT_* variables with `schema` (a strict object whose keys are the variables' names).
 * Throws one error that names every unknown and every malformed variable.
 */
export function readEnvironment<T extends z.ZodRawShape>(
  schema: z.ZodObject<T>,
  environment: NodeJS.ProcessEnv,
): z.infer<z.ZodObject<T>> {
  const ours = Object.entries(environment).filter(
    ([name]) =>
      name.startsWith("SHARDWRIGHT_") && (name in schema.shape || !READ_ELSEWHERE.has(name)),
  );
  const parsed = schema.strict().safeParse(Object.fromEntries(ours));
  if (!parsed.success) throw new Error(`bad configuration\n${z.prettifyError(parsed.error)}`);
  return parsed.data as z.infer<z.ZodObject<T>>;
}

/** Contents of a secret's file, without the newline at its end. Throws with the path when it cannot be read. */
export function readSecretFile(path: string): string {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch (cause) {
    throw new Error(`cannot read the secret in ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Re-exported: a service that only reads its configuration needs no zod of its own. */
export { z };
