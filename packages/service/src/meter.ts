import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { METRICS, type MetricDefinition, type MetricName } from "./catalog.ts";

/** Label values of one sample; exactly the labels that the catalogue names. */
export type Labels = Readonly<Record<string, string>>;

/** Records metrics of the catalogue. A name that is not in the catalogue does not compile. */
export interface Meter {
  /** Adds to a counter. */
  add(name: MetricName, labels?: Labels, by?: number): void;
  /** Sets a gauge, or a counter whose absolute total is known from elsewhere. */
  set(name: MetricName, labels: Labels, value: number): void;
  /** One observation of a histogram. */
  observe(name: MetricName, labels: Labels, value: number): void;
  /** Forgets the samples of one label set. */
  remove(name: MetricName, labels: Labels): void;
  /** Forgets every sample of a metric. */
  reset(name: MetricName): void;
  /** All samples in the Prometheus text format. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** A meter with its own registry. `process: true` adds process_* and nodejs_* of this process. */
export function createMeter(options: { readonly process?: boolean } = {}): Meter {
  const registry = new Registry();
  if (options.process) collectDefaultMetrics({ register: registry });
  const made = new Map<MetricName, Instrument>();
  const instrument = (name: MetricName): Instrument => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const fresh = make(name, METRICS[name], registry);
    made.set(name, fresh);
    return fresh;
  };
  return {
    add: (name, labels = {}, by = 1) => instrument(name).add(labels, by),
    set: (name, labels, value) => instrument(name).set(labels, value),
    observe: (name, labels, value) => instrument(name).observe(labels, value),
    remove: (name, labels) => made.get(name)?.remove(labels),
    reset: (name) => made.get(name)?.reset(),
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

interface Instrument {
  add(labels: Labels, by: number): void;
  set(labels: Labels, value: number): void;
  observe(labels: Labels, value: number): void;
  remove(labels: Labels): void;
  reset(): void;
}

function make(name: MetricName, definition: MetricDefinition, registry: Registry): Instrument {
  const settings = {
    name,
    help: definition.help,
    labelNames: [...definition.labels],
    registers: [registry],
  };
  const wrong = (): never => {
    throw new Error(`${name} is a ${definition.type}: this operation does not belong to it`);
  };
  switch (definition.type) {
    case "counter": {
      const counter = new Counter(settings);
      return {
        add: (labels, by) => counter.inc({ ...labels }, by),
        // A journal total replaces what stood there: an exporter restart must not reset a counter.
        set: (labels, value) => {
          counter.remove({ ...labels });
          counter.inc({ ...labels }, value);
        },
        observe: wrong,
        remove: (labels) => counter.remove({ ...labels }),
        reset: () => counter.reset(),
      };
    }
    case "gauge": {
      const gauge = new Gauge(settings);
      return {
        add: (labels, by) => gauge.inc({ ...labels }, by),
        set: (labels, value) => gauge.set({ ...labels }, value),
        observe: wrong,
        remove: (labels) => gauge.remove({ ...labels }),
        reset: () => gauge.reset(),
      };
    }
    case "histogram": {
      const histogram = new Histogram({ ...settings, buckets: [...(definition.buckets ?? [])] });
      return {
        add: wrong,
        set: wrong,
        observe: (labels, value) => histogram.observe({ ...labels }, value),
        remove: (labels) => histogram.remove({ ...labels }),
        reset: () => histogram.reset(),
      };
    }
    default:
      throw new Error(`${name} has an unknown type ${definition.type satisfies never}`);
  }
}
