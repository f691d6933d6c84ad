/** Splits a whole number by weight: the arithmetic under lanes, owners and replicas. */

/**
 * Whole parts in proportion to `weights` that sum to `total`, by largest remainder. Among equal remainders the
 * larger `favour` wins, then the lower index. With equal weights every part is ⌊total/n⌋ or one more.
 */
export function shareByWeight(
  total: number,
  weights: readonly number[],
  favour: (index: number, part: number) => number = () => 0,
): number[] {
  if (weights.length === 0) throw new RangeError("shareByWeight: nobody to share with");
  if (weights.some((weight) => !(weight > 0 && Number.isFinite(weight)))) {
    throw new RangeError(`shareByWeight: weights must be positive, got ${weights.join(", ")}`);
  }
  const sum = weights.reduce((a, b) => a + b, 0);
  const parts = weights.map((weight) => Math.floor((total * weight) / sum));
  const left = total - parts.reduce((a, b) => a + b, 0);
  parts
    .map((part, index) => ({
      index,
      remainder: (total * (weights[index] ?? 0)) / sum - part,
      favour: favour(index, part + 1),
    }))
    .sort((a, b) => b.remainder - a.remainder || b.favour - a.favour || a.index - b.index)
    .slice(0, left)
    .forEach(({ index }) => {
      parts[index] = (parts[index] ?? 0) + 1;
    });
  return parts;
}
