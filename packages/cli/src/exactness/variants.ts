import { NAME_CHARACTERS_MAX } from "@shardwright/job/limits";

/** Endings of the two jobs' names. */
export const UNDISTURBED = "-undisturbed";
export const DISTURBED = "-disturbed";

/** A document of a job, as written. */
type Written = Readonly<Record<string, unknown>>;

export interface Variants {
  readonly undisturbed: Written;
  readonly disturbed: Written;
}

/**
 * Pure: the two jobs made of one document. They differ in their names only. Both leave exports away, which say
 * nothing about exactness and take time; `members` replaces the number of members (at least one must remain).
 */
export function variantsOf(document: unknown, members: number | undefined): Variants {
  const written = asRecord(document);
  const name = String(asRecord(written["metadata"])["name"] ?? "");
  const variant = (ending: string): Written => ({
    ...written,
    metadata: { ...asRecord(written["metadata"]), name: nameWith(name, ending) },
    spec: specOf(asRecord(written["spec"]), members),
  });
  return { undisturbed: variant(UNDISTURBED), disturbed: variant(DISTURBED) };
}

function specOf(spec: Written, members: number | undefined): Written {
  const plain = { ...spec, export: [] };
  if (members === undefined) return plain;
  const resources = asRecord(spec["resources"]);
  const counts = { replicas: members, min: 1, max: members };
  return {
    ...plain,
    resources: { ...resources, members: { ...asRecord(resources["members"]), ...counts } },
  };
}

/** The name with the ending, cut so that it stays a name. */
export function nameWith(name: string, ending: string): string {
  return `${name.slice(0, NAME_CHARACTERS_MAX - ending.length).replace(/-+$/, "")}${ending}`;
}

function asRecord(value: unknown): Written {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Written)
    : {};
}
