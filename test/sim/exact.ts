/** What training must compute, as numbers: each step's content is a function of (step, lane) and nothing else. */
import { mix } from "./draw.ts";

export interface JobShape {
  readonly lanes: number;
  readonly blocks: number;
  readonly totalSteps: number;
  readonly saveEverySteps: number;
  /** 0: no snapshots. */
  readonly snapshotEverySteps: number;
}

/** Content of a block before the first step. */
export function blockAtStart(block: number): number {
  return mix(block, 17);
}

/** The parameters every rank computes with, from the content of all blocks. */
export function parametersOf(blocks: readonly number[]): number {
  return mix(...blocks);
}

/** Gradient of a lane at the given parameters; `step` is 0-based. */
export function laneContent(step: number, lane: number, parameters: number): number {
  return mix(step, lane, parameters);
}

export function reducedOf(lanes: readonly number[]): number {
  return mix(...lanes);
}

export function blockAfter(content: number, step: number, reduced: number): number {
  return mix(content, step, reduced);
}

/** The undisturbed run, version by version. */
export class Reference {
  private readonly versions: { blocks: number[]; lanes: number[] }[];

  constructor({ lanes, blocks, totalSteps }: JobShape) {
    let content = Array.from({ length: blocks }, (_, block) => blockAtStart(block));
    this.versions = [{ blocks: content, lanes: [] }];
    for (let step = 0; step < totalSteps; step++) {
      const parameters = parametersOf(content);
      const found = Array.from({ length: lanes }, (_, lane) => laneContent(step, lane, parameters));
      const reduced = reducedOf(found);
      content = content.map((one) => blockAfter(one, step, reduced));
      this.versions.push({ blocks: content, lanes: found });
    }
  }

  /** Content of a block after `version` steps. */
  block(version: number, block: number): number | undefined {
    return this.versions[version]?.blocks[block];
  }

  /** Contents of all lanes of the step that makes `version`. */
  lanes(version: number): readonly number[] {
    return this.versions[version]?.lanes ?? [];
  }

  /** Content of a lane of the step that makes `version`. */
  lane(version: number, lane: number): number | undefined {
    return this.versions[version]?.lanes[lane];
  }
}
