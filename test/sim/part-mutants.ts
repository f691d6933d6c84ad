/** Rules of the block map, the transfer plan and the commit that their properties must miss when they are gone. */
import type { Mutant } from "./mutate.ts";

export const MAP_MUTANTS: readonly Mutant[] = [
  {
    name: "put a replica where its owner fails",
    file: "block-replicas.ts",
    rule: "(elsewhere.length >= wanted ? elsewhere : others)",
    instead: "others",
  },
  {
    name: "keep one block more than the share",
    file: "block-owners.ts",
    rule: "if ((have[rank] ?? 0) > target) giveUp(kept, runsOfOwner(owners, rank), target);",
    instead:
      "if ((have[rank] ?? 0) > target + 1) giveUp(kept, runsOfOwner(owners, rank), target + 1);",
  },
  {
    name: "give replicas no price for being uneven",
    file: "exchange.ts",
    rule: "* SHARE_STEPS) * price",
    instead: "* 0) * price",
  },
  {
    name: "send copies that could stay",
    file: "block-replicas.ts",
    rule: "  moveLeast(placing, wanted);\n  if (wanted",
    instead: "  if (wanted",
  },
  {
    name: "forget who owned what",
    file: "block-map.ts",
    rule: "const kept = keepOwners(before.owners, targets);",
    instead: "const kept = new Int32Array(blocks).fill(-1);",
  },
  {
    name: "leave a move out",
    file: "transfer.ts",
    rule: "    needs.push(first);",
    instead: "    if (block !== 3) needs.push(first);",
  },
  {
    name: "send a block twice",
    file: "transfer.ts",
    rule: "    needs.push(first);",
    instead: "    needs.push(first);\n    if (block === 3) needs.push({ ...first });",
  },
  {
    name: "send to a rank that holds the block",
    file: "transfer.ts",
    rule: "if (sources.includes(target)) return;",
    instead: "",
  },
  {
    name: "send from a rank that does not hold the block",
    file: "transfer.ts",
    rule: "const idlest = [...need.sources].sort(",
    instead: "const idlest = need.sources.map((rank) => rank + 1).sort(",
  },
  {
    name: "take old ranks for new ones",
    file: "transfer.ts",
    rule: ".map((old) => rankOf(old))",
    instead: ".map((old) => (rankOf(old) === null ? null : old))",
  },
  {
    name: "date the plan a generation back",
    file: "transfer.ts",
    rule: "sourceGeneration: request.sourceGeneration,",
    instead: "sourceGeneration: request.sourceGeneration - 1,",
  },
];

export const COMMIT_MUTANTS: readonly Mutant[] = [
  {
    name: "commit with a writer missing",
    file: "save.ts",
    rule: "if (state.writers.some((one) => !all.has(one))) {",
    instead: "if (all.size === 0) {",
    and: {
      file: "decide.ts",
      rule: "if (problem !== undefined) throw new Damage(problem);",
      instead: "",
    },
  },
  {
    name: "prove the first writer's report alone",
    file: "save.ts",
    rule: "if (state.writers.some((one) => !all.has(one))) {",
    instead: "if (all.size === 0) {",
  },
  {
    name: "commit without proof",
    file: "decide.ts",
    rule: "if (problem !== undefined) throw new Damage(problem);",
    instead: "",
    and: {
      file: "decide.ts",
      rule: "const state = hasStateDigest(schema)\n",
      instead: "const state = hasStateDigest(schema) && packs.length < 0\n",
    },
  },
  {
    name: "commit the same step under a second name",
    file: "save-begin.ts",
    rule: `if (retired || !register.ok || register.value.status !== "committed" || !isSame(register.value))`,
    instead: `if (retired || !register.ok || register.value.status !== "committed" || isSame(register.value))`,
  },
  {
    name: "decide a register again",
    file: "decide.ts",
    rule: `created.outcome === "taken" ? Buffer.from(created.standing).toString("utf8") : text`,
    instead: "created.outcome === null ? Buffer.from(created.standing).toString() : text",
  },
  {
    name: "move the head to the highest step",
    file: "commit-key.ts",
    rule: "return other.generation - one.generation || other.step - one.step ||",
    instead: "return other.step - one.step || other.generation - one.generation ||",
  },
  {
    name: "move the head to the oldest commit",
    file: "head.ts",
    rule: "return [...candidates].sort((one, other) =>",
    instead: "return [...candidates].sort((other, one) =>",
  },
];
