import { describe, expect, it } from "vitest";
import { blockBounds, blockElementsFor, blocksCount, paddingElements } from "./flat.ts";

describe("blocks of the flat space", () => {
  it.each([
    ["8B, full", 8_030_261_248, { blockElements: 1_048_576, blocks: 7_659, padding: 782_336 }],
    ["8B, LoRA r 16", 41_943_040, { blockElements: 65_536, blocks: 640, padding: 0 }],
    ["a tiny adapter", 18_688, { blockElements: 256, blocks: 73, padding: 0 }],
    ["fewer elements than a block", 100, { blockElements: 256, blocks: 1, padding: 156 }],
  ])("%s", (_, elements, { blockElements, blocks, padding }) => {
    expect(blockElementsFor(elements)).toBe(blockElements);
    expect(blocksCount(elements, blockElements)).toBe(blocks);
    expect(paddingElements(elements, blockElements)).toBe(padding);
  });

  it("bounds a block without the padding of the last one", () => {
    const space = { elements: 600, blockElements: 256 };
    expect(blockBounds(space, 1)).toEqual({ begin: 256, end: 512 });
    expect(blockBounds(space, 2)).toEqual({ begin: 512, end: 600 });
  });
});
