/** What an agent keeps of its ranks' snapshots, by the rules of the real one. */
import type { SnapshotHolding } from "../../packages/control-plane/src/core/state.ts";

interface Shelved {
  readonly generation: number;
  readonly step: number;
  readonly blocks: Map<number, number>;
}

const SLOTS_MAX = 3;

export class SnapshotShelf {
  private kept: Shelved[] = [];
  private isUntold = false;

  add(
    generation: number,
    taken: {
      readonly step: number;
      readonly blocks: ReadonlyMap<number, number>;
      readonly complete: number;
    },
  ): void {
    const { step, complete } = taken;
    const isThis = (one: Shelved): boolean => one.generation === generation && one.step === step;
    const known = this.kept.find(isThis) ?? { generation, step, blocks: new Map() };
    for (const [block, content] of taken.blocks) known.blocks.set(block, content);
    this.kept = [...this.kept.filter((one) => !isThis(one)), known]
      .filter(
        (one) =>
          isThis(one) ||
          (one.generation === generation && one.step === complete) ||
          (complete === 0 && one.generation < generation),
      )
      .sort((a, b) => a.generation - b.generation || a.step - b.step)
      .slice(-SLOTS_MAX);
    this.isUntold = true;
  }

  undoBeyond(step: number): void {
    const kept = this.kept.filter((one) => one.step <= step);
    this.isUntold ||= kept.length < this.kept.length;
    this.kept = kept;
  }

  drop(key: { readonly generation: number; readonly step: number }): void {
    this.kept = this.kept.filter(
      ({ generation, step }) => generation !== key.generation || step !== key.step,
    );
    this.isUntold = true;
  }

  of(key: { readonly generation: number; readonly step: number }): ReadonlyMap<number, number> {
    const found = this.kept.find(
      (one) => one.generation === key.generation && one.step === key.step,
    );
    return found?.blocks ?? new Map();
  }

  /** Everything that is kept; null when nothing changed since it was told. */
  untold(): readonly SnapshotHolding[] | null {
    if (!this.isUntold) return null;
    this.isUntold = false;
    return this.kept.map(({ generation, step, blocks }) => ({
      generation,
      step,
      blocks: [...blocks.keys()]
        .sort((a, b) => a - b)
        .map((firstBlock) => ({ firstBlock, blocks: 1 })),
      bytes: 0,
    }));
  }
}
