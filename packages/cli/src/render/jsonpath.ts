/**
 * kubectl's JSONPath templates, the part people use: text outside braces, `{.a.b}`, `{.items[0]}`,
 * `{.items[*].metadata.name}`, `{['a.b']}`, `{"\n"}`, `{range .items[*]}…{end}`. Missing fields give nothing.
 */

export type Rendered =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly problem: string };

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "path"; readonly steps: readonly Step[] }
  | { readonly kind: "range"; readonly steps: readonly Step[]; readonly body: readonly Node[] };
type Step = string | number | "*";

// Deeper templates are a mistake, not a wish.
const RANGES_MAX = 8;

export function renderJsonPath(template: string, value: unknown): Rendered {
  const nodes = parse(template);
  return typeof nodes === "string"
    ? { ok: false, problem: nodes }
    : { ok: true, text: nodes.map((node) => draw(node, value)).join("") };
}

function draw(node: Node, value: unknown): string {
  switch (node.kind) {
    case "text":
      return node.text;
    case "path":
      return follow(node.steps, value).map(asText).join(" ");
    case "range":
      return follow(node.steps, value)
        .map((item) => node.body.map((inner) => draw(inner, item)).join(""))
        .join("");
  }
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function follow(steps: readonly Step[], value: unknown): readonly unknown[] {
  let found: readonly unknown[] = [value];
  for (const step of steps) found = found.flatMap((item) => take(step, item));
  return found.filter((item) => item !== undefined);
}

function take(step: Step, value: unknown): readonly unknown[] {
  if (typeof value !== "object" || value === null) return [];
  if (step === "*") return Object.values(value);
  if (typeof step === "number") return Array.isArray(value) ? [value.at(step)] : [];
  return Object.hasOwn(value, step) ? [(value as Record<string, unknown>)[step]] : [];
}

/** Nodes, or what is wrong with the template. */
function parse(template: string): readonly Node[] | string {
  const open: { steps: readonly Step[]; body: Node[] }[] = [{ steps: [], body: [] }];
  // Braces hold quoted strings, which may hold braces.
  for (const part of template.matchAll(
    /\{((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^{}"'])*)\}|([^{}]+)|([{}])/g,
  )) {
    const body = open.at(-1)?.body;
    if (body === undefined) return "more {end} than {range}";
    if (part[3] !== undefined) return `unbalanced "${part[3]}"`;
    if (part[2] !== undefined) body.push({ kind: "text", text: part[2] });
    else {
      const problem = parseBraces((part[1] ?? "").trim(), open, body);
      if (problem !== undefined) return problem;
    }
  }
  return open.length === 1 ? (open[0]?.body ?? []) : "{range} without {end}";
}

function parseBraces(
  inside: string,
  open: { steps: readonly Step[]; body: Node[] }[],
  body: Node[],
): string | undefined {
  if (inside.startsWith('"')) {
    try {
      body.push({ kind: "text", text: JSON.parse(inside) as string });
      return undefined;
    } catch {
      return `not a quoted string: {${inside}}`;
    }
  }
  if (inside === "end") {
    const closed = open.pop();
    if (closed === undefined || open.length === 0) return "{end} without {range}";
    open.at(-1)?.body.push({ kind: "range", steps: closed.steps, body: closed.body });
    return undefined;
  }
  const isRange = inside.startsWith("range ");
  const steps = parsePath(isRange ? inside.slice(6).trim() : inside);
  if (typeof steps === "string") return steps;
  if (!isRange) body.push({ kind: "path", steps });
  else if (open.length > RANGES_MAX) return `more than ${RANGES_MAX} nested {range}`;
  else open.push({ steps, body: [] });
  return undefined;
}

function parsePath(path: string): readonly Step[] | string {
  const steps: Step[] = [];
  let rest = path.replace(/^[$@]/, "");
  while (rest !== "" && rest !== ".") {
    const step = /^(?:\.?\[(?:'([^']*)'|(-?\d+)|(\*))\]|\.([^.[\]]+))/.exec(rest);
    if (step === null)
      return `cannot read {${path}} from "${rest}"; expected .field, [index], [*] or ['field']`;
    const [all, quoted, index, star, field] = step;
    if (index !== undefined) steps.push(Number(index));
    else steps.push(star ?? quoted ?? field ?? "");
    rest = rest.slice(all.length);
  }
  return steps;
}
