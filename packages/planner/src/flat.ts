/** The flat space of trainable parameters: how large its blocks are and which elements a block holds. */

/** Below 256 elements a block's bookkeeping outweighs its state, and 8-bit states need multiples of 256. */
export const BLOCK_ELEMENTS_MIN = 2 ** 8;
/** Above 1 Mi elements one block is 12 MiB of state: too coarse a unit to balance and to transfer. */
export const BLOCK_ELEMENTS_MAX = 2 ** 20;
/** Enough blocks that one block more or less is at most 0.2 % of the state. */
export const BLOCKS_GOAL = 512;

/** Elements per block: the largest power of two in [256, 2^20] that still gives at least 512 blocks. */
export function blockElementsFor(trainableElements: number): number {
  let elements = BLOCK_ELEMENTS_MAX;
  while (elements > BLOCK_ELEMENTS_MIN && trainableElements / elements < BLOCKS_GOAL) elements /= 2;
  return elements;
}

/** Blocks that cover `elements`; the last one may be padded. */
export function blocksCount(elements: number, blockElements: number): number {
  return Math.ceil(elements / blockElements);
}

/** Elements of padding in the last block. */
export function paddingElements(elements: number, blockElements: number): number {
  return blocksCount(elements, blockElements) * blockElements - elements;
}

/** Elements [begin, end) of a block, without the padding of the last one. */
export function blockBounds(
  space: { readonly elements: number; readonly blockElements: number },
  block: number,
): { readonly begin: number; readonly end: number } {
  const begin = block * space.blockElements;
  return { begin, end: Math.min(begin + space.blockElements, space.elements) };
}
