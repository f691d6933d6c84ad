/** JSON with one spelling: equal values give equal bytes, so that texts can be compared and hashed. */

/**
 * RFC 8785: keys sorted by UTF-16 code units, no white space, numbers as JavaScript writes them. Fields that are
 * `undefined` are left out. Throws on what JSON cannot hold: that is a bug of the caller.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  switch (typeof value) {
    case "object":
      return value === null ? "null" : objectText(value);
    case "number":
      if (!Number.isFinite(value)) throw new TypeError(`JSON has no ${value}`);
      return JSON.stringify(value);
    case "string":
      if (!value.isWellFormed()) throw new TypeError("JSON has no lone surrogates");
      return JSON.stringify(value);
    case "boolean":
      return String(value);
    default:
      throw new TypeError(`JSON has no ${typeof value}`);
  }
}

function objectText(value: object): string {
  const fields = Object.entries(value)
    .filter(([, entry]) => entry !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, entry]) => `${JSON.stringify(key)}:${canonicalJson(entry)}`);
  return `{${fields.join(",")}}`;
}
