/** Which owners leave the least to be sent when replicas are placed beside them. */
import type { Holding, MapRank } from "./block-map.ts";
import { isAlike, NOBODY } from "./block-owners.ts";
import { allowedFor } from "./block-replicas.ts";
import { costRows, exchangeToCheapest, pricePerShare } from "./exchange.ts";

export interface OwnerMoves {
  readonly ranks: readonly MapRank[];
  readonly before: Holding;
  /** Balanced owners. */
  readonly owners: Int32Array;
  /** Copies of every block, the owner's included, fewer than there are ranks. */
  readonly copies: number;
}

/**
 * Owners as balanced as these, of which as few differ from those before, and of those one after which the fewest
 * copies have to be sent as far as a block alone can tell: an owner that did not hold it, and each replica for which
 * no rank that held it may stand in, because it is the owner now or fails together with it.
 */
export function ownersThatMoveLeast({ ranks, before, owners, copies }: OwnerMoves): Int32Array {
  const wanted = copies - 1;
  const allowed = ranks.map((owner) => new Set(allowedFor(owner, ranks, wanted)));
  // A cycle has one arc per rank, each of at most `copies` sends: one change of owner weighs more than all of them,
  // and evenness more than all changes.
  const changeCost = ranks.length * copies + 1;
  const costs = costRows(
    owners.length,
    (block) => isAlike(before, block),
    (block) => {
      const old = before.owners[block] ?? NOBODY;
      const held = [...(before.replicas[block] ?? []), ...(old === NOBODY ? [] : [old])];
      return ranks.map(({ rank }) => {
        const stay = held.filter((other) => allowed[rank]?.has(other)).length;
        const sent = Number(!held.includes(rank)) + Math.max(0, wanted - stay);
        return sent + (old === NOBODY || old === rank ? 0 : changeCost);
      });
    },
  );
  const weights = ranks.map((rank) => rank.weight);
  const price = changeCost * (ranks.length + 1);
  const holders = Array.from(owners, (owner) => [owner]);
  const oneMore = pricePerShare(owners.length, weights, price);
  exchangeToCheapest({ ranks: ranks.length, holders, costs, oneMore });
  return Int32Array.from(holders, ([owner]) => owner ?? NOBODY);
}
