/** JSON with one spelling: equal values give equal bytes, so that texts can be compared and hashed. */

/**
 * RFC 8785: keys sorted by UTF-16 code units, no white space, numbers as ECMAScript writes them. Fields that are
 * `undefined` are left out. Throws RangeError for what JSON cannot hold: NaN, infinities, lone surrogates, functions.
 * Whoever stores the text for other readers refuses more: checkpoint-manager/src/core/canonical-json.ts.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  switch (typeof value) {
    case "object":
      return value === null ? "null" : objectText(value);
    case "number":
      if (!Number.isFinite(value)) throw new RangeError(`JSON has no ${value}`);
      return JSON.stringify(value);
    case "string":
      return stringText(value);
    case "boolean":
      return String(value);
    default:
      throw new RangeError(`JSON has no ${typeof value}`);
  }
}

function objectText(value: object): string {
  const fields = Object.entries(value)
    .filter(([, entry]) => entry !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, entry]) => `${stringText(key)}:${canonicalJson(entry)}`);
  return `{${fields.join(",")}}`;
}

function stringText(text: string): string {
  if (!text.isWellFormed()) throw new RangeError("JSON has no lone surrogates");
  return JSON.stringify(text);
}
