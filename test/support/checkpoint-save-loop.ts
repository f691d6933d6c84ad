// Saves checkpoint after checkpoint on a real disk until it is killed; prints each commit it was told of.
import { mkdirSync } from "node:fs";
import { posixStore } from "../../packages/checkpoint-manager/src/registers/posix.ts";
import { aBegin, aWorld, refOf, write } from "./checkpoint-run.ts";

const root = process.argv[2] ?? "";
mkdirSync(root, { recursive: true });
const world = aWorld(posixStore(root));
process.stdout.write("ready\n");
for (let step = Number(process.argv[3] ?? 1); ; step++) {
  const begun = await world.desk.begin(aBegin({ step, keepLast: 2 }));
  const shards = [];
  for (const writer of begun.marker.plan.writers)
    shards.push(await write(world.store, begun, { writer }));
  let answer = "";
  for (const shard of shards) answer = (await world.desk.prepared(refOf(begun), shard)).status;
  process.stdout.write(`${step} ${answer}\n`);
}
