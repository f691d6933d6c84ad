/**
 * Improves an assignment of blocks to ranks until none is cheaper: minimum-cost flow by cancelling negative cycles.
 *
 * Why the result is a minimum. Two assignments that give every block as many holders differ by a circulation in the
 * graph rank → block → rank, and a circulation is a sum of simple cycles (Ahuja, Magnanti, Orlin: Network Flows, 1993,
 * theorems 3.7 and 9.1). A cycle passes a block by entering from a holder and leaving to one that is none, so a block
 * is an arc rank → rank of weight cost(new holder) − cost(old holder), and only the lightest arc between two ranks
 * matters. A rank that ends with one block more and one that ends with one less close their path over one more node,
 * with the price of that. Costs are sums over (block, rank) and over each rank's convex price of its count, so an
 * assignment is cheapest exactly when this graph of ranks + 1 nodes has no negative cycle.
 */
export interface Exchange {
  readonly ranks: number;
  /** Who holds each block in the role that is exchanged; changed in place, as many per block as before. */
  readonly holders: readonly number[][];
  /**
   * What it costs that a rank holds a block, [block][rank]; infinite where it may not. Whole numbers, so that sums
   * are exact. Neighbouring blocks that are alike share one row: then they are looked at once.
   */
  readonly costs: readonly (readonly number[])[];
  /** What it costs that a rank with `count` blocks gets one more; never falls as `count` grows. */
  readonly oneMore: (rank: number, count: number) => number;
}

interface Graph {
  readonly exchange: Exchange;
  readonly counts: number[];
  /** Nodes: the ranks, and one more that stands for "one block more here, one less there". */
  readonly nodes: number;
  /** Weight of the lightest arc, [from × nodes + to]. */
  readonly weights: Float64Array;
}

/** A cheapest assignment; one that is so already stays as it is. Deterministic. */
export function exchangeToCheapest(exchange: Exchange): void {
  const { ranks, holders } = exchange;
  const nodes = ranks + 1;
  const counts = Array<number>(ranks).fill(0);
  for (const some of holders) for (const rank of some) counts[rank] = (counts[rank] ?? 0) + 1;
  const graph = { exchange, counts, nodes, weights: new Float64Array(nodes * nodes) };
  weigh(graph, new Set(counts.keys()));
  for (;;) {
    const cycles = negativeCycles(graph);
    if (cycles.length === 0) return;
    // Every turn makes the whole cost, a whole number bounded below, smaller: there are finitely many. The cycles
    // have no rank in common, so none changes what another one finds.
    const passing = lightest(graph, cycles.flatMap(arcsOf));
    weigh(graph, new Set(cycles.flatMap((cycle) => shift(graph, arcsOf(cycle), passing))));
  }
}

interface Arc {
  readonly from: number;
  readonly to: number;
}

function arcsOf(cycle: readonly number[]): Arc[] {
  return cycle.map((from, at) => ({ from, to: cycle[(at + 1) % cycle.length] ?? -1 }));
}

/** Weighs the arcs from these ranks anew, and those of the node besides the ranks. */
function weigh(graph: Graph, from: ReadonlySet<number>): void {
  const { exchange, counts, nodes, weights } = graph;
  const { ranks, holders, costs, oneMore } = exchange;
  for (const rank of from) weights.fill(Number.POSITIVE_INFINITY, rank * nodes, (rank + 1) * nodes);
  for (let block = 0; block < holders.length; block++) {
    const some = holders[block] ?? [];
    const isLikeBefore =
      costs[block] === costs[block - 1] && isSame(some, holders[block - 1] ?? []);
    if (isLikeBefore) continue;
    for (const rank of some) if (from.has(rank)) weighBlock(graph, block, rank);
  }
  for (let rank = 0; rank < ranks; rank++) {
    const count = counts[rank] ?? 0;
    weights[rank * nodes + ranks] = oneMore(rank, count);
    weights[ranks * nodes + rank] =
      count > 0 ? -oneMore(rank, count - 1) : Number.POSITIVE_INFINITY;
  }
}

/** What the block could go elsewhere for, from one of its holders. */
function weighBlock({ exchange, nodes, weights }: Graph, block: number, from: number): void {
  const row = exchange.costs[block] ?? [];
  const some = exchange.holders[block] ?? [];
  const saved = row[from] ?? 0;
  for (let to = 0; to < exchange.ranks; to++) {
    const weight = (row[to] ?? 0) - saved;
    if (weight < (weights[from * nodes + to] ?? 0) && !some.includes(to))
      weights[from * nodes + to] = weight;
  }
}

function isSame(some: readonly number[], others: readonly number[]): boolean {
  return some.length === others.length && some.every((rank, at) => others[at] === rank);
}

/**
 * Cycles of negative weight without a common node, each in its order, by Bellman and Ford from every node at once;
 * empty only where there is none.
 */
function negativeCycles(graph: Graph): readonly (readonly number[])[] {
  const distances = new Float64Array(graph.nodes);
  const before = new Int32Array(graph.nodes).fill(-1);
  for (let round = 0; round < graph.nodes; round++) {
    if (!shorten(graph, distances, before)) return [];
    const cycles = cyclesAmong(before);
    if (cycles.length > 0) return cycles;
  }
  throw new Error("negativeCycles: distances fell in every round and no cycle closed");
}

/** One round over all arcs; false = no distance can fall any more. */
function shorten({ nodes, weights }: Graph, distances: Float64Array, before: Int32Array): boolean {
  let isShorter = false;
  for (let from = 0; from < nodes; from++) {
    for (let to = 0; to < nodes; to++) {
      const distance = (distances[from] ?? 0) + (weights[from * nodes + to] ?? 0);
      if (distance >= (distances[to] ?? 0)) continue;
      distances[to] = distance;
      before[to] = from;
      isShorter = true;
    }
  }
  return isShorter;
}

/** The cycles of predecessors: each is one of negative weight. */
function cyclesAmong(before: Int32Array): (readonly number[])[] {
  const seenBy = new Int32Array(before.length).fill(-1);
  const cycles: (readonly number[])[] = [];
  for (let start = 0; start < before.length; start++) {
    let node = start;
    while (node >= 0 && seenBy[node] === -1) {
      seenBy[node] = start;
      node = before[node] ?? -1;
    }
    if (node < 0 || seenBy[node] !== start) continue;
    const cycle = [node];
    for (let at = before[node] ?? -1; at !== node; at = before[at] ?? -1) cycle.push(at);
    cycles.push(cycle.reverse());
  }
  return cycles;
}

/** Blocks that go at the weight of an arc, ascending, by the rank that they go from. */
function lightest({ exchange, nodes, weights }: Graph, arcs: readonly Arc[]): readonly number[][] {
  const { ranks, holders, costs } = exchange;
  const blocks = Array.from({ length: ranks }, (): number[] => []);
  const target = new Int32Array(nodes).fill(-1);
  for (const { from, to } of arcs) if (from < ranks && to < ranks) target[from] = to;
  const goesFrom = (block: number, from: number): boolean => {
    const to = target[from] ?? -1;
    if (to < 0 || holders[block]?.includes(to) === true) return false;
    const row = costs[block] ?? [];
    return (row[to] ?? 0) - (row[from] ?? 0) === weights[from * nodes + to];
  };
  holders.forEach((some, block) => {
    for (const from of some) if (goesFrom(block, from)) blocks[from]?.push(block);
  });
  return blocks;
}

/** Sends blocks around a cycle, as many at once as pay at the same weights; returns the ranks whose arcs changed. */
function shift(graph: Graph, arcs: readonly Arc[], blocks: readonly number[][]): number[] {
  const { counts } = graph;
  const { holders, ranks } = graph.exchange;
  const passing = arcs.filter(({ from, to }) => from < ranks && to < ranks);
  const most = Math.min(...passing.map(({ from }) => blocks[from]?.length ?? 0));
  const amount = affordable(graph, arcs, most);
  const touched: number[] = [];
  for (const { from, to } of passing) {
    for (const block of (blocks[from] ?? []).slice(0, amount)) {
      const some = holders[block] ?? [];
      some[some.indexOf(from)] = to;
      touched.push(from, ...some);
    }
    counts[from] = (counts[from] ?? 0) - amount;
    counts[to] = (counts[to] ?? 0) + amount;
  }
  return touched;
}

/** How often the cycle pays: where it changes counts, each further block costs more, or saves less. */
function affordable(
  { exchange, counts, nodes, weights }: Graph,
  arcs: readonly Arc[],
  most: number,
) {
  const { ranks, oneMore } = exchange;
  const gainer = arcs.find(({ to }) => to === ranks)?.from;
  const loser = arcs.find(({ from }) => from === ranks)?.to;
  if (gainer === undefined || loser === undefined) return most;
  const passing = arcs
    .filter(({ from, to }) => from < ranks && to < ranks)
    .reduce((sum, { from, to }) => sum + (weights[from * nodes + to] ?? 0), 0);
  let amount = 1;
  for (; amount < most; amount++) {
    const more = oneMore(gainer, (counts[gainer] ?? 0) + amount);
    const less = oneMore(loser, (counts[loser] ?? 0) - amount - 1);
    if (passing + more - less >= 0) break;
  }
  return amount;
}

/** Rows of costs: a new one where a block is not like the one before it. */
export function costRows(
  blocks: number,
  isLikeBefore: (block: number) => boolean,
  row: (block: number) => readonly number[],
): (readonly number[])[] {
  const rows: (readonly number[])[] = [];
  for (let block = 0; block < blocks; block++) {
    const last = rows[block - 1];
    rows.push(last !== undefined && isLikeBefore(block) ? last : row(block));
  }
  return rows;
}

// So fine are shares told apart: remainders that differ by less of a block than this count as equal.
const SHARE_STEPS = 1024;

/**
 * The price of balance: with it an assignment is cheapest where Σ (count − share)² is least, which is the split by
 * largest remainder (shares.ts); among equal remainders any rank may have the block more.
 */
export function pricePerShare(
  total: number,
  weights: readonly number[],
  price: number,
): Exchange["oneMore"] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const shares = weights.map((weight) => (total * weight) / sum);
  return (rank, count) => Math.round((2 * (count - (shares[rank] ?? 0)) + 1) * SHARE_STEPS) * price;
}
