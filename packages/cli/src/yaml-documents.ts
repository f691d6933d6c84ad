import { DOCUMENTS_MAX, YAML_ALIASES_MAX } from "@shardwright/job/limits";
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  parseAllDocuments,
  visit,
} from "yaml";

export type ParsedDocuments =
  | { readonly ok: true; readonly documents: readonly unknown[] }
  /** Each with its line. */
  | { readonly ok: false; readonly problems: readonly string[] };

/**
 * YAML 1.2 (JSON is part of it) with what a job file needs and nothing that surprises: no tags, no merge keys, no
 * duplicate keys, few aliases, no keys that mean something to JavaScript, no numbers that JSON cannot carry. All
 * problems at once.
 */
export function parseDocuments(text: string): ParsedDocuments {
  const parsed = parseAllDocuments(text, {
    uniqueKeys: true,
    version: "1.2",
    merge: false,
    prettyErrors: true,
  });
  const documents = Array.isArray(parsed) ? parsed.filter(isWritten) : [];
  if (documents.length > DOCUMENTS_MAX) {
    return {
      ok: false,
      problems: [`${documents.length} documents; one file has at most ${DOCUMENTS_MAX}`],
    };
  }
  const lineOf = lineFinder(text);
  const problems = documents.flatMap((document) => problemsOf(document, lineOf));
  if (problems.length > 0) return { ok: false, problems };
  try {
    return {
      ok: true,
      documents: documents.map((document) => document.toJS({ maxAliasCount: YAML_ALIASES_MAX })),
    };
  } catch (error) {
    return { ok: false, problems: [(error as Error).message] };
  }
}

/** An empty document, such as what follows a last `---`, is nothing. One with errors is something. */
function isWritten(document: Document.Parsed): boolean {
  const { contents, errors } = document;
  const isNull = contents === null || (isScalar(contents) && contents.value === null);
  return !isNull || errors.length > 0;
}

type LineOf = (offset: number | undefined) => string;

function problemsOf(document: Document.Parsed, lineOf: LineOf): readonly string[] {
  const said = [...document.errors, ...document.warnings].map(
    (error) =>
      `line ${error.linePos?.[0].line ?? "?"}: ${error.message.split("\n")[0]?.replace(/ at line .*$/, "") ?? ""}`,
  );
  const found: string[] = [];
  let aliases = 0;
  visit(document, (_key, node, ancestors) => {
    if (isAlias(node)) aliases += 1;
    const at = isNode(node) ? lineOf(node.range?.[0]) : "";
    if (
      isNode(node) &&
      "tag" in node &&
      typeof node.tag === "string" &&
      !STANDARD_TAGS.has(node.tag)
    ) {
      found.push(`${at}: the tag ${node.tag} is not allowed`);
    }
    // The wire is JSON, which would say null: the field would silently take its default.
    if (isScalar(node) && typeof node.value === "number" && !Number.isFinite(node.value)) {
      found.push(`${at}: ${fieldOf(ancestors, node)} must be finite, got ${node.source}`);
    }
    if (isMap(node)) found.push(...node.items.flatMap((pair) => problemOfKey(pair, lineOf)));
  });
  if (aliases > YAML_ALIASES_MAX)
    found.push(`${aliases} aliases; at most ${YAML_ALIASES_MAX} are allowed`);
  return [...new Set([...said, ...found])];
}

/** `spec.train.betas[1]`: where a node is, from the nodes above it. */
function fieldOf(ancestors: readonly unknown[], node: unknown): string {
  const below = [...ancestors.slice(1), node];
  return ancestors
    .map((parent, i) => {
      if (isPair(parent)) return isScalar(parent.key) ? `.${String(parent.key.value)}` : ".?";
      return isSeq(parent) ? `[${parent.items.indexOf(below[i])}]` : "";
    })
    .join("")
    .replace(/^\./, "");
}

/** What the core schema itself gives to plain nodes. */
const STANDARD_TAGS = new Set(
  ["map", "seq", "str", "int", "float", "bool", "null"].map((name) => `tag:yaml.org,2002:${name}`),
);
const REFUSED_KEYS = new Set(["__proto__", "constructor", "prototype"]);

function problemOfKey(pair: unknown, lineOf: LineOf): readonly string[] {
  if (!isPair(pair) || !isScalar(pair.key)) return ["a key is not a plain word"];
  const key = String(pair.key.value);
  const at = lineOf(pair.key.range?.[0]);
  if (key === "<<") return [`${at}: merge keys (<<) are not allowed; write the fields out`];
  return REFUSED_KEYS.has(key) ? [`${at}: the key ${key} is not allowed`] : [];
}

function lineFinder(text: string): LineOf {
  return (offset) =>
    `line ${offset === undefined ? "?" : text.slice(0, offset).split("\n").length}`;
}
