/** A promise of a part that does not hold; the message says which, with the numbers. */
export class Broken extends Error {}

/** Throws Broken with the sentence unless it holds. */
export function must(holds: boolean, sentence: string): void {
  if (!holds) throw new Broken(sentence);
}
