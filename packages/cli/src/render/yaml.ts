import { stringify } from "yaml";

// A module of its own: YAML costs more to load than everything else that prints, and few ask for it.

/** The value as YAML; long lines stay whole. */
export function yaml(value: unknown): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}
