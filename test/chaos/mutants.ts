/** The trainer with one rule broken, in a folder of its own: what the chaos suite must notice. */
import { chmodSync, cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../e2e/harness.ts";
import type { Deed, Schedule } from "./schedule.ts";

export interface Patch {
  /** In `shardwright_trainer`. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly rule: string;
  readonly instead: string;
}

export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  readonly schedule: Schedule;
  /** Part of what the verdict must say. */
  readonly notices: string;
}

const quiet = (method: Schedule["method"], members: number, deeds: readonly Deed[]): Schedule => ({
  seed: 0,
  method,
  members,
  ranksPerMember: 1,
  membersMax: members,
  steps: 60,
  saveEverySteps: 10,
  deeds,
});

/** The first rank dies a while after it began: what its replica holds is what goes on. */
const ownerDies: Deed = {
  what: "kill",
  when: { at: "step", step: 10, plusMs: 0 },
  targets: [{ kind: "rank", index: 0 }],
};
/**
 * Everything in memory is lost, that of the agents too, when a checkpoint was committed: what it holds is what goes on.
 * Aimed at a step, a slow disk would leave no checkpoint to go back to.
 */
const memoryLost: Deed = {
  what: "kill",
  when: { at: "moment", moment: "saved", skip: 0, plusMs: 0 },
  targets: [{ kind: "everyMember" }],
};

/** A copy without a change: what fails below fails for the change, not for the copy. */
export const COPY: Schedule = quiet("lora", 2, [ownerDies]);

export const MUTANTS: readonly Mutant[] = [
  {
    name: "lanes are added in a chain, in place of the tree",
    patches: [
      {
        file: "blocks/reduce.py",
        rule: `    stack: LaneStack[Tensor] = LaneStack(merge)
    for lo, size, value in sorted(nodes, key=lambda node: node[0]):
        stack.push(lo, value, size)
    return stack.finish().float()`,
        instead: `    ordered = [value for _, _, value in sorted(nodes, key=lambda node: node[0])]
    total = ordered[0].clone()
    for value in ordered[1:]:
        total += value
    return total.float()`,
      },
    ],
    schedule: quiet("full", 3, []),
    notices: "weightsSha256 is",
  },
  {
    name: "replicas keep old moments, and nobody compares them",
    patches: [
      {
        file: "blocks/state.py",
        rule: "            self.publish(block)\n\n    def publish",
        instead:
          "            if block not in self.held.owned:\n                self.exp_avg[block].zero_()\n            self.publish(block)\n\n    def publish",
      },
      {
        file: "rank/engine_adopt.py",
        rule: "    if others:",
        instead: "    if others and not others:",
      },
      {
        file: "rank/engine_adopt.py",
        rule: "    if wrong:",
        instead: "    if wrong and not wrong:",
      },
    ],
    schedule: quiet("lora", 2, [ownerDies]),
    notices: "stateSha256 is",
  },
  {
    name: "the gradient of one lane is dropped",
    patches: [
      {
        file: "rank/engine_lanes.py",
        rule: "torch.autograd.backward(loss)",
        instead: "torch.autograd.backward(loss * (lane != 4))",
      },
    ],
    schedule: quiet("lora", 2, []),
    notices: "weightsSha256 is",
  },
  {
    name: "every epoch has the order of the first",
    patches: [
      {
        file: "plan/schedule.py",
        rule: "permute(seed, epoch, rows,",
        instead: "permute(seed, 0, rows,",
      },
    ],
    schedule: quiet("lora", 1, []),
    notices: "data ledger, [step, lane, examples]: planned [9,0,",
  },
  {
    name: "a checkpoint brings weights without moments",
    patches: [
      {
        file: "blocks/state.py",
        rule: "                tensor.copy_(torch.from_numpy(blocks[kind][block]))",
        instead:
          '                tensor.copy_(torch.from_numpy(blocks[kind][block]) * (kind == "master"))',
      },
    ],
    schedule: quiet("full", 2, [memoryLost]),
    notices: "stateSha256 is",
  },
];

/** Writes the package with the patches and an interpreter that uses it; returns the interpreter's path. */
export function brokenPython(folder: string, python: string, patches: readonly Patch[]): string {
  const source = join(ROOT, "packages/trainer/shardwright_trainer");
  const target = join(folder, "shardwright_trainer");
  cpSync(source, target, { recursive: true, filter: (path) => !path.endsWith("__pycache__") });
  for (const { file, rule, instead } of patches) {
    const path = join(target, file);
    const text = readFileSync(path, "utf8");
    if (text.split(rule).length !== 2)
      throw new Error(`${file} does not have this rule exactly once: ${rule}`);
    writeFileSync(
      path,
      text.replace(rule, () => instead),
    );
  }
  const interpreter = join(folder, "python");
  writeFileSync(interpreter, `#!/bin/sh\nPYTHONPATH='${folder}' exec '${python}' "$@"\n`);
  chmodSync(interpreter, 0o755);
  return interpreter;
}
