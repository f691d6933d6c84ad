// What planning costs: whole plans as a request meets them (the first one with a cold compiler, then warm ones), block
// maps of a large model fresh and after a rank came or went, transfers. Prints one JSON object.
//   node test/bench/planner.ts [runs]
import { cpus } from "node:os";
import { type JobSpec, parseJobDocument } from "../../packages/job/dist/index.js";
import {
  type BlockMap,
  type DeviceFacts,
  type MapRank,
  type ModelCard,
  mapBlocks,
  planJob,
  planTransfer,
  REFERENCE_CARDS,
  STATE_BYTES_PER_ELEMENT,
} from "../../packages/planner/dist/index.js";

const RUNS = Number(process.argv[2] ?? 50);
const PLAN_GOAL_MS = 50;
const MAP_GOAL_MS = 5;

interface Timing {
  readonly firstMs: number;
  readonly medianMs: number;
  readonly worstMs: number;
}

/** The first run apart: it compiles. */
function time(run: () => unknown): Timing {
  const took = Array.from({ length: RUNS + 1 }, () => {
    const begin = performance.now();
    run();
    return performance.now() - begin;
  });
  const [first = 0, ...warm] = took;
  warm.sort((a, b) => a - b);
  const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;
  return {
    firstMs: rounded(first),
    medianMs: rounded(warm[warm.length >> 1] ?? 0),
    worstMs: rounded(warm.at(-1) ?? 0),
  };
}

function aSpec(changes: object): JobSpec {
  const data = { train: { source: "file:///data.jsonl" }, packing: { length: 8192 } };
  const reading = parseJobDocument({
    apiVersion: "shardwright.dev/v1alpha1",
    kind: "FineTuneJob",
    metadata: { name: "bench" },
    spec: { model: { source: "file:///model" }, data, ...changes },
  });
  if (!reading.ok) throw new Error(JSON.stringify(reading.complaints));
  return reading.document.spec;
}

const LAPTOP: DeviceFacts = { kind: "cpu", bytesPerRank: 6 * 2 ** 30, ranksMax: 8, coresCount: 2 };
const CLUSTER: DeviceFacts = {
  kind: "H200",
  bytesPerRank: 149_250_113_536,
  ranksMax: 1024,
  coresCount: 64,
};

function plan(spec: JobSpec, card: ModelCard, devices: DeviceFacts): Timing & { fits: boolean } {
  const request = { spec, card, devices, data: null, calibration: null, recipe: null };
  return { ...time(() => planJob(request)), fits: planJob(request).fits };
}

const SPACE = { elements: REFERENCE_CARDS.llama8.parameters, blockElements: 1_048_576 };
const ranksOf = (count: number): MapRank[] =>
  Array.from({ length: count }, (_, rank) => ({ rank, weight: 1, failureDomain: `node-${rank}` }));
const mapOf = (ranks: number, copies: number): BlockMap =>
  mapBlocks({ ...SPACE, ranks: ranksOf(ranks), copies });

function reshape(from: number, to: number, copies: number): Timing {
  const map = mapOf(from, copies);
  const rankOf = (old: number): number | null => (old < to ? old : null);
  return time(() => mapBlocks({ ...SPACE, ranks: ranksOf(to), copies, previous: { map, rankOf } }));
}

function transfer(): Timing {
  const previous = mapOf(8, 2);
  const rankOf = (old: number): number => old;
  const next = mapBlocks({
    ...SPACE,
    ranks: ranksOf(9),
    copies: 2,
    previous: { map: previous, rankOf },
  });
  return time(() =>
    planTransfer({
      previous,
      next,
      rankOf,
      stateBytesPerElement: STATE_BYTES_PER_ELEMENT,
      sourceGeneration: 1,
      targetGeneration: 2,
    }),
  );
}

const plans = {
  smollm2LoraCpu: plan(aSpec({}), REFERENCE_CARDS.smollm2, LAPTOP),
  llama8LoraH200: plan(aSpec({}), REFERENCE_CARDS.llama8, CLUSTER),
  llama8Full16H200: plan(
    aSpec({
      tuning: { method: "full" },
      train: { batchSize: 128 },
      resources: { members: { replicas: 2, min: 1, max: 2, gpus: 8 } },
    }),
    REFERENCE_CARDS.llama8,
    CLUSTER,
  ),
  llama70FullRefused: plan(
    aSpec({ tuning: { method: "full" }, train: { batchSize: 1024 } }),
    REFERENCE_CARDS.llama70,
    CLUSTER,
  ),
};
const maps = {
  fresh8: time(() => mapOf(8, 1)),
  fresh64TwoCopies: time(() => mapOf(64, 2)),
  from8To9: reshape(8, 9, 1),
  from8To7TwoCopies: reshape(8, 7, 2),
  from64To63TwoCopies: reshape(64, 63, 2),
};
const worst = (all: Readonly<Record<string, Timing>>, of: (one: Timing) => number): number =>
  Math.max(...Object.values(all).map(of));

process.stdout.write(
  `${JSON.stringify(
    {
      bench: "planner",
      node: process.version,
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      runs: RUNS,
      planMs: plans,
      mapBlocks7659Ms: maps,
      transferMs: transfer(),
      goals: {
        planFirst: { goalMs: PLAN_GOAL_MS, worstMs: worst(plans, (one) => one.firstMs) },
        mapMedian: { goalMs: MAP_GOAL_MS, worstMs: worst(maps, (one) => one.medianMs) },
      },
    },
    null,
    2,
  )}\n`,
);
