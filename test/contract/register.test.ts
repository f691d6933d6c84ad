import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { probeStore } from "../../packages/checkpoint-manager/src/probe.ts";
import { memoryStore } from "../../packages/checkpoint-manager/src/registers/memory.ts";
import { emptyTrash, posixStore } from "../../packages/checkpoint-manager/src/registers/posix.ts";
import { posixCalls } from "../../packages/checkpoint-manager/src/registers/posix-calls.ts";
import { registerContract } from "./register-suite.ts";

const made: string[] = [];
const folder = async (): Promise<string> => {
  made.push(await mkdtemp(join(tmpdir(), "swc-register-")));
  return made.at(-1) ?? "";
};
afterAll(async () => {
  for (const path of made) await rm(path, { recursive: true, force: true });
});

registerContract("memory", async () => memoryStore());
registerContract("posix", async () => posixStore(await folder()));

describe("the posix store", () => {
  it("does not follow a link out of its root", async () => {
    const [root, outside] = [await folder(), await folder()];
    await writeFile(join(outside, "secret"), "secret");
    await symlink(join(outside, "secret"), join(root, "pack"));
    const store = posixStore(root);
    await expect(store.size("pack")).rejects.toThrow(/leads out/);
    await expect(store.readRange("pack", 0, 6)).rejects.toThrow(/leads out/);
  });

  it("empties what an interrupted removal left", async () => {
    const root = await folder();
    await posixStore(root).create(".trash-1/x", new Uint8Array(1));
    await emptyTrash(root);
    expect(await posixStore(root).list("")).toEqual([]);
  });
});

describe("the probe of a store", () => {
  it("passes a sound store and leaves nothing", async () => {
    const root = await folder();
    expect(await probeStore(posixStore(root))).toMatch(/^sha256:/);
    expect(await posixStore(root).list("")).toEqual([]);
  });

  it("finds a link that overwrites, as a rename would", async () => {
    const calls = {
      ...posixCalls,
      link: async (existing: string, path: string) => {
        await posixCalls.link(existing, `${existing}.moved`);
        await posixCalls.rename(`${existing}.moved`, path);
        return true;
      },
    };
    await expect(probeStore(posixStore(await folder(), calls))).rejects.toThrow(/SWC_STORE_UNSAFE/);
  });
});
