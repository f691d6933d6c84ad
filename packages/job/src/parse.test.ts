import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULTS } from "./defaults.ts";
import { API_VERSION, KIND, parseJobDocument, parseJobSpec, toPlainDocument } from "./parse.ts";
import { PRESETS } from "./presets.ts";
import type { JobDocument, JobSpec } from "./spec.ts";

const SMALLEST = {
  model: { source: "file:///models/tiny" },
  data: { train: { source: "file:///data/train.jsonl" } },
};

function documentOf(spec: object): object {
  return { apiVersion: API_VERSION, kind: KIND, metadata: { name: "tone" }, spec };
}

function accepted(spec: object): JobDocument {
  const reading = parseJobDocument(documentOf(spec));
  if (!reading.ok) throw new Error(JSON.stringify(reading.complaints));
  return reading.document;
}

function specOf(more: object): JobSpec {
  return accepted({ ...SMALLEST, ...more }).spec;
}

describe("defaults", () => {
  it("fill everything but model and data.train", () => {
    const { spec } = accepted(SMALLEST);
    expect(spec.tuning).toEqual(DEFAULTS.tuning);
    expect(spec.train).toEqual({ ...DEFAULTS.train, learningRate: 2e-4 });
    expect(spec.resources).toEqual(DEFAULTS.resources);
    expect(spec.export).toEqual([{ format: "peft", merge: false, destination: null }]);
    expect(Object.values(spec).every((value) => value !== undefined)).toBe(true);
  });

  it("depend on the method where they must", () => {
    const { train, export: exports } = specOf({ tuning: { method: "full" } });
    expect(train.learningRate).toBe(1e-5);
    expect(exports).toEqual([{ format: "hf", merge: false, destination: null }]);
  });

  it("stand for null and for empty sections", () => {
    const spec = specOf({ train: null, tuning: {}, precision: null, export: null });
    expect(spec).toEqual(accepted(SMALLEST).spec);
  });

  it("do not stand for an empty list of exports", () => {
    expect(specOf({ export: [] }).export).toEqual([]);
  });
});

describe("short forms and what a server adds", () => {
  it("takes ranks for gpus", () => {
    expect(specOf({ resources: { members: { ranks: 2 } } }).resources.members.gpus).toBe(2);
  });

  it("reads an object that `get` gave back", () => {
    const object = {
      ...documentOf(SMALLEST),
      metadata: {
        name: "tone",
        namespace: "default",
        uid: "01K9Z5T7Q3M8R2V4X6B0C1D2E3",
        resourceVersion: "7",
        creationTimestamp: "2026-11-24T10:00:00Z",
      },
      status: { state: "Running" },
    };
    expect(parseJobDocument(object)).toMatchObject({
      ok: true,
      document: { metadata: { name: "tone", labels: {}, annotations: {} } },
    });
  });

  it("drops the ratio when steps of warm-up are given", () => {
    const { warmupSteps, warmupRatio } = specOf({ train: { warmupSteps: 5 } }).train;
    expect([warmupSteps, warmupRatio]).toEqual([5, 0]);
  });
});

describe("presets", () => {
  it.each(Object.keys(PRESETS))("%s expands to a legal spec and stays named", (preset) => {
    const spec = specOf({ preset });
    expect(spec.preset).toBe(preset);
    expect(spec).toMatchObject(PRESETS[preset] ?? {});
    expect(parseJobSpec(spec)).toMatchObject({ ok: true, spec });
  });

  it("lose to explicit fields, an explicit null included", () => {
    const spec = specOf({ preset: "quick", tuning: { r: 32 }, train: { maxSteps: null } });
    expect(spec.tuning).toMatchObject({ r: 32, alpha: 16 });
    expect(spec.train.maxSteps).toBeNull();
  });

  it("give way where the user says the same thing in another way", () => {
    expect(specOf({ preset: "quick", train: { epochs: 2 } }).train).toMatchObject({
      epochs: 2,
      maxSteps: null,
    });
    expect(specOf({ preset: "quality", train: { warmupSteps: 7 } }).train).toMatchObject({
      warmupSteps: 7,
      warmupRatio: 0,
    });
  });
});

describe("warnings", () => {
  it("name what is legal and doubtful", () => {
    const spec = { ...SMALLEST, tuning: { method: "full" }, train: { learningRate: 1e-3 } };
    const reading = parseJobSpec(spec);
    expect(reading).toMatchObject({ ok: true });
    expect(reading.ok && reading.warnings).toEqual([
      expect.stringContaining("high for full tuning"),
    ]);
  });
});

const word = fc.stringMatching(/^[a-z]([-a-z0-9]{0,8}[a-z0-9])?$/);
const file = word.map((name) => `file:///data/${name}`);
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.option(value, { nil: null });

/** Legal specs, far from the defaults. */
const specs = fc.record({
  model: fc.record({
    source: fc.oneof(
      file,
      word.map((name) => `ft:${name}`),
    ),
    revision: maybe(word),
  }),
  data: fc.record({
    train: fc.record({ source: file, rowsMax: maybe(fc.integer({ min: 1, max: 1e6 })) }),
    validation: maybe(fc.record({ source: file })),
    format: fc.constantFrom("auto", "chat", "completions", "alpaca"),
    map: fc.constantFrom({}, { input: "q", output: "a" }),
    packing: maybe(fc.record({ length: fc.integer({ min: 8, max: 8192 }) })),
    allowSmall: fc.boolean(),
  }),
  tuning: fc.record({
    method: fc.constantFrom("lora", "full"),
    r: fc.integer({ min: 1, max: 256 }),
    alpha: fc.double({ min: 0.5, max: 512, noNaN: true }),
    targets: fc.oneof(
      fc.constant("all-linear"),
      fc.uniqueArray(fc.stringMatching(/^[a-z_.]{1,8}$/), { minLength: 1, maxLength: 3 }),
    ),
  }),
  train: fc.record(
    {
      epochs: fc.integer({ min: 1, max: 10 }),
      maxSteps: maybe(fc.integer({ min: 100, max: 1e6 })),
      batchSize: fc.integer({ min: 64, max: 1024 }),
      learningRate: maybe(fc.double({ min: 1e-8, max: 1, noNaN: true })),
      warmupSteps: maybe(fc.integer({ min: 0, max: 99 })),
      betas: fc.tuple(fc.double({ min: 0, max: 0.99, noNaN: true }), fc.constant(0.95)),
      seed: fc.maxSafeNat(),
      lanes: maybe(fc.constantFrom(1, 2, 4)),
    },
    { requiredKeys: [] },
  ),
  resources: fc.record({
    members: fc.record({
      replicas: maybe(fc.constant(3)),
      min: maybe(fc.constant(2)),
      gpus: fc.constant(2),
    }),
    threadsPerRank: fc.integer({ min: 1, max: 8 }),
  }),
  checkpoint: fc.record({
    every: fc.oneof(
      fc.constant("auto"),
      fc.record({ steps: fc.integer({ min: 1, max: 1000 }) }),
      fc.record({ seconds: fc.integer({ min: 1, max: 1000 }) }),
    ),
    store: maybe(file),
  }),
  preset: maybe(fc.constantFrom(...Object.keys(PRESETS))),
});

describe("the plain document", () => {
  it("parses to the same document and is written the same again", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const document = accepted(spec);
        const plain = toPlainDocument(document);
        // Through JSON: what travels and what is stored.
        const again = parseJobDocument(JSON.parse(JSON.stringify(plain)));
        expect(again).toMatchObject({ ok: true, document });
        expect(again.ok && toPlainDocument(again.document)).toEqual(plain);
      }),
      { numRuns: 300 },
    );
  });
});

describe("hostile values", () => {
  it("never throw, and are refused unless they are a job", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true }), (value) => {
        const reading = parseJobDocument(value);
        expect(reading.ok).toBe(false);
        const inside = parseJobDocument(documentOf({ ...SMALLEST, train: value }));
        if (!inside.ok) expect(inside.complaints.length).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
  });

  it("answer with at most a hundred complaints", () => {
    const train = Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`field${i}x`, 1]));
    const reading = parseJobSpec({ ...SMALLEST, train });
    expect(reading.ok ? 0 : reading.complaints.length).toBe(100);
  });

  it("refuse a value that contains itself", () => {
    const loop: Record<string, unknown> = { ...SMALLEST };
    loop["train"] = { again: loop };
    const reading = parseJobSpec(loop);
    expect(reading.ok ? [] : reading.complaints.map(({ problem }) => problem)).toContain(
      "contains itself",
    );
  });
});
