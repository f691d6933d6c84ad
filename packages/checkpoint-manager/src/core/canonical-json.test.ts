import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findPython } from "../../../../test/support/find-python.mjs";
import { canonicalJson, type Json, parseCanonical } from "./canonical-json.ts";
import { crc32c } from "./crc32c.ts";

const TRAINER = fileURLToPath(new URL("../../../trainer", import.meta.url));
const python = findPython();

const PYTHON = `
import json, sys
from shardwright_trainer.files.canonical_json import canonical_bytes, parse_canonical, self_digest, with_self
from shardwright_trainer.files.crc import as_bytes, crc32c
for line in sys.stdin:
    text = json.loads(line)
    try:
        value = parse_canonical(text.encode("utf-8", "surrogatepass"))
        print(json.dumps([canonical_bytes(value).decode(), crc32c(as_bytes(text.encode())) if text else 0]))
    except ValueError:
        print("null")
`;

/** What Python makes of each text: [its canonical form, CRC of the text], or null for a refusal. */
function inPython(texts: readonly string[]): ([string, number] | null)[] {
  const input = texts.map((text) => JSON.stringify(text)).join("\n");
  const ended = spawnSync(python ?? "", ["-c", PYTHON], {
    cwd: TRAINER,
    input,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (ended.status !== 0) throw new Error(ended.stderr);
  return ended.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as [string, number] | null);
}

describe("canonical JSON", () => {
  it.each([
    [{ b: 1, a: [true, null, "x"] }, '{"a":[true,null,"x"],"b":1}'],
    [1e-7, "1e-7"],
    [1e21, "1e+21"],
    [-0, "0"],
    [0.1 + 0.2, "0.30000000000000004"],
    ["\u20ac$\u000f\nA'\"\\\u007f", '"€$\\u000f\\nA\'\\"\\\\\u007f"'],
    [
      { "\ufb33": 1, "\ud83d\ude00": 2, "\u00e9": 3, "1": 4, "\r": 5 },
      '{"\\r":5,"1":4,"\u00e9":3,"\ud83d\ude00":2,"\ufb33":1}',
    ],
  ] as [Json, string][])("of %j is %s", (value, text) => {
    expect(canonicalJson(value)).toBe(text);
    expect(parseCanonical(text)).toMatchObject({ ok: true });
  });

  it.each([
    "1E-7",
    "1.0",
    " 1",
    '{"a":1,"a":1}',
    '{"b":1,"a":1}',
    '"\\u0041"',
    "01",
    "-0",
    "9007199254740993",
    "9007199254740992",
    "NaN",
    '"\\ud800"',
    "[".repeat(100),
  ])("refuses %s", (text) => {
    expect(parseCanonical(text).ok).toBe(false);
  });

  // One Python process for all: above one second.
  it.skipIf(python === undefined)(
    "is the same in Python, for values and for damaged texts",
    { timeout: 60_000 },
    () => {
      const values = fc.sample(fc.jsonValue({ maxDepth: 4 }), {
        numRuns: 1500,
        seed: 20_261_123,
      }) as Json[];
      const texts = values.flatMap((value) => {
        try {
          return [canonicalJson(value)];
        } catch {
          return [];
        }
      });
      const bent = texts.flatMap((text, index) => {
        const at = (index * 7919) % Math.max(1, text.length);
        const code = text.charCodeAt(at) ^ (1 << (index % 7));
        return text.length === 0
          ? []
          : [text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1)];
      });
      const all = [...texts, ...bent].filter((text) => text.isWellFormed());
      const theirs = inPython(all);
      let refused = 0;
      for (const [index, text] of all.entries()) {
        const ours = parseCanonical(text);
        const said = theirs[index];
        if (!ours.ok) refused++;
        expect([text, said === null ? "refused" : said?.[0]]).toEqual([
          text,
          ours.ok ? text : "refused",
        ]);
        if (said) expect(said[1]).toBe(crc32c(Buffer.from(text)));
      }
      expect(all.length).toBeGreaterThan(2_000);
      expect(refused).toBeGreaterThan(100);
    },
  );
});
