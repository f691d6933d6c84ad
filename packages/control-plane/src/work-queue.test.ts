import { describe, expect, it } from "vitest";
import { createWorkQueue } from "./work-queue.ts";

describe("the work queue", () => {
  it("does one piece after another for a key, in order, also after one that fails", async () => {
    const queue = createWorkQueue();
    const seen: string[] = [];
    const work = (name: string, fails = false) =>
      queue.run("job", async () => {
        seen.push(`${name} begins`);
        await Promise.resolve();
        seen.push(`${name} ends`);
        if (fails) throw new Error(name);
      });
    const results = await Promise.allSettled([work("a"), work("b", true), work("c")]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(seen).toEqual(["a", "b", "c"].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it("lets keys pass one another", async () => {
    const queue = createWorkQueue();
    let release = (): void => undefined;
    const held = queue.run("slow", () => new Promise<void>((resolve) => (release = resolve)));
    expect(await queue.run("fast", async () => "done")).toBe("done");
    release();
    await held;
    await queue.idle();
  });

  it("refuses a flood", async () => {
    const queue = createWorkQueue();
    const all = Array.from({ length: 10_001 }, () => queue.run("job", async () => undefined));
    const results = await Promise.allSettled(all);
    expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(await queue.run("job", async () => "again")).toBe("again");
  });
});
