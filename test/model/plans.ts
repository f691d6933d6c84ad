/** Looking things up in a generation's plan. */
import type { GenerationPlan, Seat } from "../../packages/control-plane/src/core/state.ts";

export function findSeat(
  plan: GenerationPlan,
  { member }: { readonly member: string },
): Seat | undefined {
  return plan.seats.find((seat) => seat.member === member);
}

/** Blocks a rank holds, or only those it owns. */
export function heldIn({ blockMap }: GenerationPlan, rank: number, owned = false): number[] {
  return blockMap.runs.flatMap(({ firstBlock, blocks, holders }) =>
    (owned ? holders[0] === rank : holders.includes(rank))
      ? Array.from({ length: blocks }, (_, index) => firstBlock + index)
      : [],
  );
}

export function isOwner(plan: GenerationPlan, who: { readonly member: string }): boolean {
  const seat = findSeat(plan, who);
  return seat !== undefined && heldIn(plan, seat.rank, true).length > 0;
}
