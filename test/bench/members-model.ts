/** What simulated members say they loaded: the adapter of a 1B Llama (r = 16 on every linear layer), made-up data. */
import type { DataFacts, FlatLayout, FlatTensor } from "@shardwright/proto";

const LAYERS = 16;
const HIDDEN = 2048;
const KEY_VALUE = 512;
const INTERMEDIATE = 8192;
const R = 16;
/** [name, inputs, outputs] of the linear layers of a block. */
const LINEAR: readonly (readonly [string, number, number])[] = [
  ["self_attn.q_proj", HIDDEN, HIDDEN],
  ["self_attn.k_proj", HIDDEN, KEY_VALUE],
  ["self_attn.v_proj", HIDDEN, KEY_VALUE],
  ["self_attn.o_proj", HIDDEN, HIDDEN],
  ["mlp.gate_proj", HIDDEN, INTERMEDIATE],
  ["mlp.up_proj", HIDDEN, INTERMEDIATE],
  ["mlp.down_proj", INTERMEDIATE, HIDDEN],
];
// So many that no bench sees the end of the job.
const STEPS = 1_000_000n;

/** 224 tensors, 11.3 M elements: 172 blocks of 64 Ki. */
export function adapterLayout(): FlatLayout {
  return LAYOUT;
}

const LAYOUT = makeLayout();

function makeLayout(): FlatLayout {
  const tensors: FlatTensor[] = [];
  let begin = 0;
  const add = (fqn: string, shape: readonly [number, number]): void => {
    const end = begin + shape[0] * shape[1];
    tensors.push({ fqn, shape: shape.map(BigInt), begin: BigInt(begin), end: BigInt(end) });
    begin = end;
  };
  for (let layer = 0; layer < LAYERS; layer++) {
    for (const [name, inputs, outputs] of LINEAR) {
      add(`model.layers.${layer}.${name}.lora_A.weight`, [R, inputs]);
      add(`model.layers.${layer}.${name}.lora_B.weight`, [outputs, R]);
    }
  }
  return { tensors, elementsCount: BigInt(begin), fingerprint: "bench" };
}

export function dataFacts(): DataFacts {
  return {
    digest: "bench",
    examplesCount: 1_000_000n,
    rowsCount: 1_000_000n,
    tokensCount: 1_000_000_000n,
    trainedTokensCount: 900_000_000n,
    rowTokensMax: 1024,
    totalSteps: STEPS,
    stepsPerEpoch: STEPS,
    warnings: [],
  };
}
