/** Which known name somebody meant. */

/** Names are compared without case, `_` and `-`: `learning_rate` is `learningRate`. */
function folded(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, "");
}

/** A user's misspelt name is never longer; bounds the work of the comparison. */
const NAME_COMPARED_MAX = 64;

/**
 * The known name nearest to `name`: at most a third of its letters may be wrong. null when none is near.
 * Ties go to the one that comes first in `known`.
 */
export function nearestName(name: string, known: readonly string[]): string | null {
  if (name.length > NAME_COMPARED_MAX) return null;
  const wanted = folded(name);
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, folded(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
