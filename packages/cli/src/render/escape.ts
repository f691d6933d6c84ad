/**
 * Makes text that came from outside (logs, names, messages) safe to show on a terminal: what could move
 * the cursor, change colours, open links or reorder letters becomes visible instead of acting.
 */

// C0 and C1 controls and DEL, soft line separators, bidirectional controls, unpaired surrogates.
const HOSTILE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is its purpose.
  /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** One line of text; a line break inside becomes `\n`. Tabs stay. */
export function visible(text: string): string {
  return text.replace(HOSTILE, spellOut);
}

/** As `visible`, but line breaks stay: for text of several lines. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}

function spellOut(character: string): string {
  const code = character.charCodeAt(0);
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u{${code.toString(16).padStart(4, "0")}}`;
}
