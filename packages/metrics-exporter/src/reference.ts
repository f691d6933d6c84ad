import { METRIC_NAMES, METRICS, type MetricDefinition } from "@shardwright/service/catalog";

/** docs/metrics.md: the catalogue as a page. A test holds the page to it. */
export function metricsReference(): string {
  const rows = METRIC_NAMES.map((name) => rowOf(name, METRICS[name]));
  return [
    "# Metrics",
    "",
    "Every metric of `/metrics`, from the catalogue (`packages/service/src/catalog.ts`). `shardctl up` prints the address; a scrape wants the token. The numbers of Node and of the",
    "process (`process_*`, `nodejs_*`) stand beside them.",
    "",
    "Labels are bounded: J stands for `job_namespace, job_name`; closed sets are written out; queues, models and members are as many as there are. No label is a step, a generation,",
    "a path or a text that somebody wrote. Counters and gauges of a job are totals of the journal, which no restart resets; histograms begin anew with the process. The series of a",
    "job stay five minutes after its end, so that a last scrape sees it. A GPU is a CPU rank where there is no GPU.",
    "",
    "| metric | type | labels | meaning | from |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

function rowOf(name: string, definition: MetricDefinition): string {
  const { type, labels, values, buckets, help, owner } = definition;
  const isOfJob = labels.includes("job_name");
  const others = labels.filter((label) => !isOfJob || !label.startsWith("job_"));
  const shown = others.map((label) => {
    const set = values?.[label];
    return set === undefined ? `\`${label}\`` : `\`${label}\`: ${set.join(" ")}`;
  });
  const bounds = buckets === undefined ? "" : ` (${buckets.join(" ")})`;
  const all = [...(isOfJob ? ["J"] : []), ...shown].join("; ");
  return `| \`${name}\` | ${type}${bounds} | ${all} | ${help} | ${owner} |`;
}
