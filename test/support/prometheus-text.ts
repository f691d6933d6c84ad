// A strict reader of the Prometheus text format: what a scraper would refuse, or silently misread, is an error here.

export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram" | "summary";
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  /** With `_bucket`, `_sum` and `_count` for histograms. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)|[+-]?Inf|NaN)$/i;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"/g;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: [""],
  gauge: [""],
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

/** What was read of a page so far. */
interface Reading {
  readonly families: { name: string; type: Family["type"]; help: string; samples: Sample[] }[];
  readonly seen: Set<string>;
  help: { readonly name: string; readonly text: string } | null;
}

/** Throws with the line that is wrong. */
export function readPrometheusText(text: string): readonly Family[] {
  if (!text.endsWith("\n")) throw new Error("the page does not end with a line break");
  const reading: Reading = { families: [], seen: new Set(), help: null };
  for (const line of text.split("\n").slice(0, -1)) {
    const [, what, name = "", said = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (what === "HELP") reading.help = { name, text: said };
    else if (what === "TYPE") beginFamily(reading, { name, type: said }, line);
    else if (line !== "") addSample(reading, line);
  }
  for (const family of reading.families) if (family.type === "histogram") checkHistogram(family);
  return reading.families;
}

function beginFamily(
  { families, help }: Reading,
  { name, type }: { readonly name: string; readonly type: string },
  line: string,
): void {
  if (help?.name !== name) throw new Error(`no help before: ${line}`);
  if (families.some((family) => family.name === name)) throw new Error(`twice: ${line}`);
  if (!(type in SUFFIXES)) throw new Error(`unknown type: ${line}`);
  families.push({ name, type: type as Family["type"], help: help.text, samples: [] });
}

function addSample({ families, seen }: Reading, line: string): void {
  const sample = readSample(line);
  const family = families.at(-1);
  const suffixes = SUFFIXES[family?.type ?? ""] ?? [];
  const belongs = suffixes.some((suffix) => sample.name === `${family?.name}${suffix}`);
  if (family === undefined || !belongs) throw new Error(`outside its family: ${line}`);
  const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
  if (seen.has(key)) throw new Error(`twice: ${line}`);
  if (family.type === "counter" && !(sample.value >= 0)) throw new Error(`below 0: ${line}`);
  seen.add(key);
  family.samples.push(sample);
}

function readSample(line: string): Sample {
  const found = SAMPLE.exec(line);
  if (found === null) throw new Error(`no sample: ${line}`);
  const [, name = "", labelText = "", valueText = ""] = found;
  const labels: Record<string, string> = {};
  for (const [, label = "", value = ""] of labelText.matchAll(LABEL)) {
    if (label in labels) throw new Error(`label twice: ${line}`);
    labels[label] = value;
  }
  return { name, labels, value: Number(valueText.replace("Inf", "Infinity")) };
}

/** Buckets grow, the last is +Inf and equals the count. */
function checkHistogram({ name, samples }: Family): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...labels } = sample.labels;
    const key = JSON.stringify(Object.entries(labels).sort());
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const [key, own] of series) {
    const buckets = own.filter((one) => one.name.endsWith("_bucket"));
    const bounds = buckets.map(({ labels }) =>
      Number((labels["le"] ?? "").replace("Inf", "Infinity")),
    );
    const counts = buckets.map(({ value }) => value);
    const grows = (values: readonly number[]): boolean =>
      values.every((value, at) => at === 0 || value >= (values[at - 1] ?? 0));
    const count = own.find((one) => one.name.endsWith("_count"))?.value;
    const isWhole =
      grows(bounds) &&
      grows(counts) &&
      bounds.at(-1) === Number.POSITIVE_INFINITY &&
      counts.at(-1) === count &&
      own.some((one) => one.name.endsWith("_sum"));
    if (!isWhole) throw new Error(`${name}${key} is no histogram: ${JSON.stringify(own)}`);
  }
}
