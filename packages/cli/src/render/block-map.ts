import type { BlockMapPicture, ChangePicture, RankPicture } from "../rpc/block-map-object.ts";
import { seconds } from "./duration.ts";
import { visible } from "./escape.ts";
import { bytes } from "./quantity.ts";
import { table, width } from "./table.ts";

/** How the picture may be drawn. */
export interface Canvas {
  readonly columns: number;
  /** Block elements and arrows; otherwise plain ASCII. */
  readonly unicode: boolean;
  readonly color: boolean;
}

interface Glyphs {
  readonly owned: string;
  readonly partly: string;
  readonly replica: string;
  readonly none: string;
  readonly arrow: string;
}

const UNICODE: Glyphs = { owned: "█", partly: "▓", replica: "░", none: "·", arrow: "→" };
const ASCII: Glyphs = { owned: "#", partly: "+", replica: "-", none: ".", arrow: "->" };

// A bar shorter than this says nothing, whatever the terminal; a longer one does not say more.
const BAR_CELLS_MIN = 16;
const BAR_CELLS_MAX = 96;

type Shade = "owned" | "partly" | "replica" | "none";

/**
 * The map as a picture: one bar for each rank over all blocks, what it owns and replicates in blocks and bytes of
 * state, its lanes, and what the last change of generation moved. Lines end with a line break.
 */
export function drawBlockMap(picture: BlockMapPicture, canvas: Canvas): string {
  const glyphs = canvas.unicode ? UNICODE : ASCII;
  const heads = picture.ranks.map(({ rank, member }) => visible(`rank ${rank}  ${member}`.trim()));
  const headWidth = Math.max(0, ...heads.map(width));
  const facts = factColumns(picture.ranks);
  const room = canvas.columns - headWidth - Math.max(0, ...facts.map(width)) - 5;
  // Too narrow for both: the facts go below the bar.
  const isBeside = room >= BAR_CELLS_MIN;
  const cells = Math.min(
    picture.blocks,
    BAR_CELLS_MAX,
    isBeside ? room : Math.max(BAR_CELLS_MIN, canvas.columns - headWidth - 3),
  );
  const lines = picture.ranks.flatMap((rank, index) => {
    const bar = paint(barOf(picture, rank.rank, cells), glyphs, canvas.color);
    const head = (heads[index] ?? "").padEnd(headWidth);
    const fact = facts[index] ?? "";
    return isBeside
      ? [`${head}  ${bar}  ${fact}`.trimEnd()]
      : [`${head}  ${bar}`, `${" ".repeat(headWidth)}  ${fact}`.trimEnd()];
  });
  const ruler = rulerOf(picture.blocks, cells);
  return [
    headline(picture),
    "",
    ...lines,
    `${" ".repeat(headWidth)}  ${ruler}`,
    "",
    legend(picture, cells, glyphs),
    ...snapshotLines(picture),
    ...changeLines(picture, glyphs),
    "",
  ].join("\n");
}

/** `-o wide`: the runs of neighbouring blocks with the same holders, as a table. */
export function drawRuns(picture: BlockMapPicture): string {
  const last = (run: { readonly firstBlock: number; readonly blocks: number }): number =>
    run.firstBlock + run.blocks - 1;
  return table(
    picture.runs,
    [
      { title: "FIRST", right: true, cell: (run) => `${run.firstBlock}` },
      { title: "LAST", right: true, cell: (run) => `${last(run)}` },
      { title: "BLOCKS", right: true, cell: (run) => `${run.blocks}` },
      { title: "BYTES", right: true, cell: (run) => bytes(run.bytes) },
      { title: "OWNER", right: true, cell: (run) => `${run.owner}` },
      { title: "REPLICAS", cell: (run) => run.replicas.join(",") },
    ],
    { wide: false, headers: true },
  );
}

function headline(picture: BlockMapPicture): string {
  const { job, generation, ranks, blocks, blockElements, stateBytes } = picture;
  const count = `${ranks.length} rank${ranks.length === 1 ? "" : "s"}`;
  return visible(
    `job ${job}  generation ${generation}  ${count}  ${blocks} blocks of ${blockElements} elements  ${bytes(stateBytes)} of state`,
  );
}

/** `owns 309 (14.5 MiB)  replicates 309 (14.5 MiB)  lanes 0-3`, aligned over the ranks. */
function factColumns(ranks: readonly RankPicture[]): readonly string[] {
  const rows = ranks.map((rank) => [
    `owns ${rank.ownedBlocks} (${bytes(rank.ownedBytes)})`,
    `replicates ${rank.replicaBlocks} (${bytes(rank.replicaBytes)})`,
    lanesOf(rank.lanes),
  ]);
  const widths = [0, 1, 2].map((at) => Math.max(0, ...rows.map((row) => width(row[at] ?? ""))));
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function lanesOf([begin, end]: readonly [number, number]): string {
  if (end <= begin) return "no lane";
  return end - begin === 1 ? `lane ${begin}` : `lanes ${begin}-${end - 1}`;
}

/** What each cell shows of one rank. A cell stands for neighbouring blocks; every block is in exactly one. */
export function barOf(
  { runs, blocks }: Pick<BlockMapPicture, "runs" | "blocks">,
  rank: number,
  cells: number,
): readonly Shade[] {
  const owned = new Array<number>(cells).fill(0);
  const copied = new Array<number>(cells).fill(0);
  for (const run of runs) {
    const counts = run.owner === rank ? owned : run.replicas.includes(rank) ? copied : null;
    if (counts === null) continue;
    for (let block = run.firstBlock; block < run.firstBlock + run.blocks; block++) {
      const cell = Math.floor((block * cells) / blocks);
      counts[cell] = (counts[cell] ?? 0) + 1;
    }
  }
  return owned.map((own, cell) => {
    const all = Math.ceil(((cell + 1) * blocks) / cells) - Math.ceil((cell * blocks) / cells);
    if (own === all) return "owned";
    if (own > 0) return "partly";
    return (copied[cell] ?? 0) > 0 ? "replica" : "none";
  });
}

const OWNED_COLOR = "\u001b[36m";
const REPLICA_COLOR = "\u001b[2m";
const PLAIN = "\u001b[0m";

/** Neighbouring cells of one shade share their colour codes. */
function paint(bar: readonly Shade[], glyphs: Glyphs, color: boolean): string {
  let drawn = "";
  for (let at = 0; at < bar.length; ) {
    const shade = bar[at] ?? "none";
    let end = at;
    while (bar[end] === shade) end++;
    const text = glyphs[shade].repeat(end - at);
    const code = shade === "none" ? "" : shade === "replica" ? REPLICA_COLOR : OWNED_COLOR;
    drawn += color && code !== "" ? `${code}${text}${PLAIN}` : text;
    at = end;
  }
  return drawn;
}

/** The first and the last block below the ends of the bar. */
function rulerOf(blocks: number, cells: number): string {
  const last = `${blocks - 1}`;
  return blocks === 1 ? "0" : `0${last.padStart(Math.max(cells - 1, last.length + 1))}`;
}

function legend(picture: BlockMapPicture, cells: number, glyphs: Glyphs): string {
  const perCell = picture.blocks / cells;
  const scale =
    perCell === 1
      ? "one cell is one block"
      : `one cell is about ${perCell < 10 ? perCell.toFixed(1) : Math.round(perCell)} blocks`;
  return `${glyphs.owned} owns  ${glyphs.partly} owns some  ${glyphs.replica} replicates  ${glyphs.none} neither  (${scale})`;
}

function snapshotLines({ snapshot, blocks }: BlockMapPicture): readonly string[] {
  if (snapshot === null) return [];
  const where = snapshot.members.map((one) => `${one.member} ${one.blocks} of ${blocks} blocks`);
  return [visible(`snapshot in memory: step ${snapshot.step}, ${where.join(", ")}`)];
}

function changeLines(picture: BlockMapPicture, glyphs: Glyphs): readonly string[] {
  const { lastChange, stateBytes } = picture;
  if (lastChange === null) return ["last change: none, this is the first generation"];
  return [visible(changeLine(lastChange, stateBytes, glyphs.arrow))];
}

function changeLine(change: ChangePicture, stateBytes: number, arrow: string): string {
  const share = stateBytes > 0 ? ` (${Math.round((100 * change.movedBytes) / stateBytes)} %)` : "";
  const what =
    change.source === "live"
      ? `${bytes(change.movedBytes)}${change.movedBytes > 0 ? share : ""} of state moved between ranks`
      : change.source === "snapshot"
        ? `ranks took their blocks from the agents' memory, ${bytes(change.movedBytes)} of it between members`
        : change.source === "checkpoint"
          ? "every rank read its blocks from the checkpoint"
          : "every rank made its blocks anew";
  const why = change.sentence === "" ? "" : `; ${change.sentence}`;
  return `last change: generation ${change.from} ${arrow} ${change.to}: ${what} in ${seconds(change.seconds)}${why}`;
}
