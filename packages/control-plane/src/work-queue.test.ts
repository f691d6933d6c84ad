import { describe, expect, it } from "vitest";
import { createGathering, createWorkQueue } from "./work-queue.ts";

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

describe("gathering", () => {
  /** A gathering whose first piece of work lasts until `release`. */
  function held() {
    const done: (readonly number[])[] = [];
    let release = (): void => undefined;
    const first = new Promise<void>((resolve) => (release = resolve));
    const gather = createGathering<number>(createWorkQueue(), async (_, items) => {
      if (done.push(items) === 1) await first;
      if (items.includes(-1)) throw new Error("minus one");
    });
    return { done, gather, release: () => release() };
  }

  it("works on what came meanwhile together, in order, at most 256 at once", async () => {
    const { done, gather, release } = held();
    const all = [gather("job", 0)];
    await Promise.resolve();
    for (let item = 1; item <= 300; item++) all.push(gather("job", item));
    release();
    await Promise.all(all);
    expect(done.map((items) => items.length)).toEqual([1, 256, 44]);
    expect(done.flat()).toEqual(Array.from({ length: 301 }, (_, item) => item));
  });

  it("fails those that it worked on together, and nobody after them", async () => {
    const { gather, release } = held();
    const first = gather("job", 0);
    await Promise.resolve();
    const together = [gather("job", -1), gather("job", 1)];
    release();
    await first;
    const results = await Promise.allSettled(together);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await gather("job", 2);
  });

  it("goes on after a refusal", async () => {
    let refuses = true;
    const queue = {
      idle: async () => undefined,
      run: async <T>(_: string, work: () => Promise<T>): Promise<T> => {
        if (refuses) throw new Error("too many");
        return await work();
      },
    };
    const gather = createGathering<number>(queue, async () => undefined);
    await expect(gather("job", 1)).rejects.toThrow("too many");
    refuses = false;
    await gather("job", 2);
  });
});
