import { fileURLToPath } from "node:url";
import * as job from "@shardwright/job";
import * as checkpoint from "@shardwright/job/checkpoint";
import * as faults from "@shardwright/job/faults";
import * as planner from "@shardwright/planner";
import { expect, it } from "vitest";
import { openSaveDesk } from "../../packages/checkpoint-manager/src/saves.ts";
import { Broken } from "./broken.ts";
import { checkMaps, type Maps } from "./map-property.ts";
import { mutatedPart, type Part } from "./mutate.ts";
import { COMMIT_MUTANTS, MAP_MUTANTS } from "./part-mutants.ts";
import { checkSaves } from "./save-property.ts";

// Every mutant is noticed within a few; the rules themselves are tried on all of them.
const MAP_SEEDS = 300;
const SAVE_SEEDS = 40;
// Histories of saves hash every file that they write.
const LIMIT_MS = 60_000;

const sources = (name: string): string =>
  fileURLToPath(new URL(`../../packages/${name}/src/`, import.meta.url));
const host = { ...planner, ...job, ...checkpoint, ...faults };
const MAPS: Part = {
  folder: sources("planner"),
  contents: `export { mapBlocks } from "./block-map.ts"; export { planTransfer } from "./transfer.ts";`,
  host,
};
const SAVES: Part = {
  folder: sources("checkpoint-manager"),
  contents: `export { openSaveDesk } from "./saves.ts";`,
  host,
};
type Saves = { readonly openSaveDesk: typeof openSaveDesk };

it("every chain of block maps and transfer plans is sound", () => {
  for (let seed = 0; seed < MAP_SEEDS; seed++) checkMaps(planner, seed);
});

it(
  "every history of saves keeps what a commit promises",
  async () => {
    for (let seed = 0; seed < SAVE_SEEDS; seed++) await checkSaves(openSaveDesk, seed);
  },
  LIMIT_MS,
);

it("a part that is bundled unchanged is sound: what is noticed below is the missing rule", async () => {
  const same = { name: "nothing", file: "transfer.ts", rule: "plan: {", instead: "plan: {" };
  checkMaps((await mutatedPart(same, MAPS)) as Maps, 0);
  const too = { ...same, file: "head.ts", rule: "export function chooseHead" };
  const saves = (await mutatedPart({ ...too, instead: too.rule }, SAVES)) as Saves;
  await checkSaves(saves.openSaveDesk, 0);
});

it.each(MAP_MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
  "a rule of the map that is deleted is missed: %s",
  async (_, mutant) => {
    const maps = (await mutatedPart(mutant, MAPS)) as Maps;
    expect(() => {
      for (let seed = 0; seed < MAP_SEEDS; seed++) checkMaps(maps, seed);
    }).toThrow(Broken);
  },
);

it.each(COMMIT_MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
  "a rule of the commit that is deleted is missed: %s",
  async (_, mutant) => {
    const saves = (await mutatedPart(mutant, SAVES)) as Saves;
    const all = async (): Promise<void> => {
      for (let seed = 0; seed < SAVE_SEEDS; seed++) await checkSaves(saves.openSaveDesk, seed);
    };
    await expect(all()).rejects.toThrow(Broken);
  },
  LIMIT_MS,
);
