import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Embedded,
  fixtures,
  hashesOf,
  type JobObject,
  python,
  ROOT,
  run,
  tinyJob,
} from "./harness.ts";

// Real processes from submit to export: each job takes seconds to start (Python and torch) and is worth it.

let shardwright: Embedded;
let folder: string;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
});
afterAll(async () => {
  await shardwright.stop();
});

describe("one LoRA job", () => {
  let job: JobObject;

  it("runs from submit to an exported adapter", async () => {
    job = await shardwright.finish(tinyJob(folder, { name: "lora-two" }));
    expect(job.status.state).toBe("Complete");
    expect(job.status.progress).toMatchObject({ step: 8, totalSteps: 8 });
    expect(job.status.result?.weightsSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(job.status.result?.stateSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(job.status.result?.consumedSha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it("exports an adapter that PEFT loads as it is", async () => {
    const out = join(shardwright.dataDir, "taken");
    const exported = await shardwright.ctl(
      "export",
      "job/lora-two",
      "--format",
      "peft",
      "--out",
      out,
    );
    expect(exported).toMatchObject({ code: 0 });
    const script = [
      "import sys, torch",
      "from transformers import AutoModelForCausalLM",
      "from peft import PeftModel",
      "base = AutoModelForCausalLM.from_pretrained(sys.argv[1])",
      "ids = torch.arange(20)[None]",
      "before = base(ids).logits",
      "tuned = PeftModel.from_pretrained(base, sys.argv[2])",
      "print(float((tuned(ids).logits - before).abs().max()) > 1e-3)",
    ].join("\n");
    const loaded = await run(python(), ["-c", script, `${folder}/models/tiny-llama`, out]);
    expect(loaded.stdout.trim()).toBe("True");
  });

  it("has committed checkpoints that verify to the last byte", async () => {
    const list = await shardwright.json<{ items: { commit: string; step: number }[] }>(
      "get",
      "checkpoints",
      "lora-two",
    );
    expect(list.items.map(({ step }) => step).sort((a, b) => a - b)).toEqual([4, 8]);
    const verified = await shardwright.ctl(
      "checkpoints",
      "verify",
      "job/lora-two",
      "--level",
      "full",
    );
    expect(verified).toMatchObject({ code: 0 });
  });

  it("tells its story: generations, events, metrics", async () => {
    const generations = await shardwright.json<{
      items: { generation: number; worldSize: number }[];
    }>("get", "generations", "lora-two");
    expect(generations.items[0]).toMatchObject({ generation: 1, worldSize: 2 });
    const events = await shardwright.json<{ items: { reason: string | { code: string } }[] }>(
      "events",
      "lora-two",
    );
    expect(events.items.length).toBeGreaterThan(4);
    const explained = await shardwright.ctl("explain", "lora-two");
    expect(explained.code).toBe(0);
    expect(explained.stdout).not.toBe("");
  });

  it("is unchanged when the same file comes again", async () => {
    const again = await shardwright.apply(tinyJob(folder, { name: "lora-two" }));
    expect(again.stdout).toContain("finetunejob.shardwright.dev/lora-two unchanged");
  });

  it("gives the same bits on one, three and five ranks", async () => {
    for (const members of [1, 3, 5]) {
      const other = await shardwright.finish(tinyJob(folder, { name: `lora-${members}`, members }));
      expect(hashesOf(other)).toEqual(hashesOf(job));
    }
  });
});

describe("full tuning", () => {
  it("gives the same bits on one and on three ranks, and exports weights transformers loads", async () => {
    const one = await shardwright.finish(
      tinyJob(folder, { name: "full-1", members: 1, method: "full" }),
    );
    const three = await shardwright.finish(
      tinyJob(folder, { name: "full-3", members: 3, method: "full" }),
    );
    expect(hashesOf(three)).toEqual(hashesOf(one));
    const location = one.status.result?.artifacts[0]?.location.replace("file://", "") ?? "";
    const script =
      "import sys; from transformers import AutoModelForCausalLM as A; print(A.from_pretrained(sys.argv[1]).num_parameters())";
    const loaded = await run(python(), ["-c", script, location]);
    expect(Number(loaded.stdout)).toBeGreaterThan(10_000);
  });
});

describe("a job that cannot be", () => {
  it("is refused with every complaint and its path, exit 2, and leaves nothing", async () => {
    const job = tinyJob(folder, { name: "bad", train: { learningRate: -1, epoch: 3 } });
    const refused = await shardwright.apply(job);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("spec.train.learningRate");
    expect(refused.stderr).toContain("spec.train.epoch");
    expect((await shardwright.ctl("get", "job", "bad")).code).toBe(1);
  });

  it("is refused when its data is broken, with the line", async () => {
    const job = tinyJob(folder, {
      name: "bad-data",
      extra: { data: { train: { source: `file://${ROOT}package.json` } } },
    });
    const refused = await shardwright.apply(job);
    expect(refused.code).toBe(2);
    expect(refused.stderr).not.toContain("    at ");
  });
});
