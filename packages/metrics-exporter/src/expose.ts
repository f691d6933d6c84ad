import { METRIC_NAMES, METRICS } from "@shardwright/service/catalog";
import type { Page } from "@shardwright/service/http-server";
import { createMeter, type Meter } from "@shardwright/service/meter";
import type { Board } from "./board.ts";

export interface ExposeOptions {
  readonly board: Board;
  readonly version: string;
  /** Meters of services in the same process: they are shown on the same page. */
  readonly alsoRender: readonly Meter[];
}

const OURS = METRIC_NAMES.filter((name) => METRICS[name].owner === "metrics-exporter");

/** The page /metrics. Rendered from scratch at each scrape: what is gone from the board is gone from the page. */
export function expose(options: ExposeOptions): Page {
  const meter = createMeter({ process: true });
  return {
    path: "/metrics",
    contentType: meter.contentType,
    render: async () => {
      for (const name of OURS) meter.reset(name);
      meter.set("shardwright_build_info", { version: options.version }, 1);
      for (const { metric, labels, value } of options.board.samples()) {
        meter.set(metric, labels, value);
      }
      const pages = await Promise.all([meter, ...options.alsoRender].map((each) => each.render()));
      return merged(pages);
    },
  };
}

/** Pages as one: a family that several meters have (process_*, say) is shown once, the first one's. */
export function merged(pages: readonly string[]): string {
  const seen = new Set<string>();
  const families = pages.flatMap((page) => page.split(/^(?=# HELP )/m));
  return families
    .filter((family) => {
      const name = /^# HELP (\S+)/.exec(family)?.[1];
      if (name === undefined || seen.has(name)) return false;
      seen.add(name);
      return true;
    })
    .map((family) => `${family.trimEnd()}\n`)
    .join("");
}
