/** What every history of saves must be, checked on seeded ones: writers late, short or absent, processes that restart. */
import {
  commitKey,
  newestFirst,
  parseCommitKey,
  type SaveName,
} from "../../packages/checkpoint-manager/src/core/commit-key.ts";
import type { Begun, openSaveDesk } from "../../packages/checkpoint-manager/src/saves.ts";
import { verifyCommit } from "../../packages/checkpoint-manager/src/verify.ts";
import {
  aBegin,
  aWorld,
  blocksOf,
  RUN,
  refOf,
  type World,
  write,
} from "../support/checkpoint-run.ts";
import { must } from "./broken.ts";
import { createDraw, type Draw } from "./draw.ts";

const SAVES = 6;
// Fewer than retention keeps, so that every commit stays to be looked at.
const KEEP_LAST = SAVES + 1;
const WRITERS = [0, 1] as const;

interface History {
  readonly draw: Draw;
  readonly open: typeof openSaveDesk;
  world: World;
  readonly committed: Map<string, SaveName>;
  head: string | null;
}

/** One history; rejects with Broken, which says which promise of a commit does not hold. */
export async function checkSaves(open: typeof openSaveDesk, seed: number): Promise<void> {
  const history: History = {
    draw: createDraw(seed),
    open,
    world: aWorld(undefined, open),
    committed: new Map(),
    head: null,
  };
  let [step, generation] = [0, 1];
  for (let save = 0; save < SAVES; save++) {
    step += history.draw.int(1, 5);
    // A new generation may go back to an earlier step: it started from an earlier checkpoint.
    if (history.draw.chance(0.4)) [step, generation] = [Math.max(1, step - 7), generation + 1];
    await oneSave(history, step, generation);
    await checkHead(history);
  }
}

async function oneSave(history: History, step: number, generation: number): Promise<void> {
  const { draw } = history;
  const request = aBegin({ step, generation, keepLast: KEEP_LAST });
  const begun = await history.world.desk.begin(request);
  const present = draw.chance(0.3) ? [draw.pick(WRITERS)] : WRITERS;
  const short = draw.chance(0.2) ? draw.pick(present) : null;
  const isTaken = draw.chance(0.3);
  const isWhole = present.length === WRITERS.length && short === null && !isTaken;
  const order = draw.chance(0.5) ? present : [...present].reverse();
  for (const [at, writer] of order.entries()) {
    // Another process finds the save half written and decides it; this one has not heard of that.
    if (isTaken && at === order.length - 1)
      await aWorld(history.world.root, history.open).desk.head(RUN);
    const blocks = blocksOf(begun, writer).slice(writer === short ? 1 : 0);
    const prepared = await write(history.world.store, begun, { writer, blocks });
    const answer = await history.world.desk.prepared(refOf(begun), prepared);
    if (answer.status === "committed") {
      must(!isTaken, `save ${commitKey(begun.marker)} is committed after it was aborted`);
      must(isWhole, `save ${commitKey(begun.marker)} is committed without all of its blocks`);
      history.committed.set(commitKey(begun.marker), begun.marker);
    }
  }
  // A crash: what the folder says is all that the next process knows.
  if (draw.chance(0.4)) history.world = aWorld(history.world.root, history.open);
  await sayAgain(history, begun, isWhole);
}

/** The same request once more finds the same save, decided as it was; so does an abort that comes too late. */
async function sayAgain(history: History, begun: Begun, isWhole: boolean): Promise<void> {
  const { desk } = history.world;
  const { step, generation } = begun.marker;
  const key = commitKey(begun.marker);
  if (history.committed.has(key)) {
    const late = await desk.abort(refOf(begun), { code: "late", sentence: "" });
    must(late.status === "committed", `committed save ${key} is aborted afterwards`);
    const again = await desk.begin(aBegin({ step, generation, keepLast: KEEP_LAST }));
    must(commitKey(again.marker) === key, `${key} is begun again as ${commitKey(again.marker)}`);
    must(again.decided !== null, `committed save ${key} is begun again`);
    return;
  }
  must(!isWhole, `save ${key} has all of its blocks and is not committed`);
  if (history.draw.chance(0.5)) {
    const outcome = await desk.abort(refOf(begun), { code: "gone", sentence: "" });
    must(outcome.status === "aborted", `save ${key} without all of its blocks is committed`);
  }
}

/** The head is the newest commit by (generation, step, try), whole, and never older than it was. */
async function checkHead(history: History): Promise<void> {
  const { head } = await history.world.desk.head(RUN);
  const newest = [...history.committed.values()].sort(newestFirst)[0];
  const key = head === null ? null : commitKey(head);
  must(
    key === (newest === undefined ? null : commitKey(newest)),
    `the head is ${key}, the newest commit is ${newest === undefined ? null : commitKey(newest)}`,
  );
  if (key === null || key === history.head) return;
  const before = parseCommitKey(history.head ?? "");
  const now = parseCommitKey(key);
  must(
    before === null || (now !== null && newestFirst(now, before) < 0),
    `the head went from ${history.head} back to ${key}`,
  );
  history.head = key;
  const { problems } = await verifyCommit(history.world.store, key, "full");
  must(problems.length === 0, `the head ${key} is damaged: ${JSON.stringify(problems[0])}`);
}
