import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import {
  type BeginSaveResponse,
  CheckpointServiceClient,
  type ExportCheckpointResponse,
  type WriterPrepared,
} from "@shardwright/proto";
import { closeInReverse, connect } from "@shardwright/service";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { aBegin, RUN, silent } from "../../../../test/support/checkpoint-run.ts";
import { stateBytes } from "../../../../test/support/checkpoint-writer.ts";
import { findPython } from "../../../../test/support/find-python.mjs";
import { buildCheckpointManager, type CheckpointManager } from "../build.ts";
import { canonicalJson } from "../core/canonical-json.ts";

const TOKEN = "a-token-of-the-owner-1";
const TRAINER = fileURLToPath(new URL("../../../trainer", import.meta.url));
const python = findPython();
const run = promisify(execFile);

/** The wire's form of test/support's request. */
function beginMessage(
  over: Parameters<typeof aBegin>[0] = {},
): Parameters<CheckpointServiceClient["beginSave"]>[0] {
  const {
    tensors,
    elements,
    blockElements,
    blocks,
    runs,
    facts,
    keepLast,
    step,
    generation,
    ...rest
  } = aBegin(over);
  return {
    ...rest,
    step: BigInt(step),
    generation: BigInt(generation),
    layout: {
      tensors: tensors.map(({ fqn, shape, begin, end }) => ({
        fqn,
        shape: shape.map(BigInt),
        begin: BigInt(begin),
        end: BigInt(end),
      })),
      elementsCount: BigInt(elements),
      fingerprint: "",
    },
    blockMap: {
      elementsCount: BigInt(elements),
      blockElementsCount: blockElements,
      blocksCount: blocks,
      runs: runs.map((one) => ({
        firstBlock: one.firstBlock,
        blocksCount: one.blocks,
        holders: [...one.holders],
      })),
    },
    factsJson: canonicalJson(facts),
    keepLastCount: keepLast,
  };
}

// Starts Python once per save, hence above one second.
describe.skipIf(python === undefined)(
  "CheckpointService with writers in Python",
  { timeout: 60_000 },
  () => {
    let folder = "";
    let manager: CheckpointManager;
    let client: ReturnType<typeof connect<CheckpointServiceClient>>;
    const call = { deadlineMs: 30_000 };

    beforeAll(async () => {
      // A space and a percent sign: addresses are encoded, paths are not.
      folder = await mkdtemp(join(tmpdir(), "swc service 100%-"));
      manager = await buildCheckpointManager({
        listen: "127.0.0.1:0",
        root: join(folder, "checkpoints"),
        token: TOKEN,
        python: python ?? "",
        pythonPath: TRAINER,
        log: silent,
      });
      client = connect(CheckpointServiceClient, manager.address, TOKEN);
    });
    afterAll(async () => {
      client.close();
      await closeInReverse(manager.parts, 5_000, Date.now);
      await rm(folder, { recursive: true, force: true });
    });

    async function persist(
      begun: BeginSaveResponse,
      writers: Record<number, number[]>,
      salt: number,
    ): Promise<WriterPrepared[]> {
      const { key } = begun;
      const child = run(python ?? "", ["-m", "tests.files_write_save"], { cwd: TRAINER });
      child.child.stdin?.end(
        JSON.stringify({
          directory: begun.directory,
          schema_json: begun.schemaJson,
          crc_block_bytes: begun.crcBlockBytes,
          save_id: key?.saveId,
          step: Number(key?.step),
          generation: Number(key?.generation),
          elements: 300,
          block_elements: 64,
          writers,
          salt,
        }),
      );
      const { stdout } = await child;
      return stdout
        .trim()
        .split("\n")
        .map((line) => {
          const said = JSON.parse(line) as {
            writer: number;
            manifest_path: string;
            manifest_sha256: string;
            bytes: number;
          };
          return {
            writer: said.writer,
            incarnation: 0,
            manifestPath: said.manifest_path,
            manifestSha256: said.manifest_sha256,
            bytes: BigInt(said.bytes),
          };
        });
    }

    async function saveWhole(step: number, salt: number, facts: object = {}): Promise<string> {
      const begun = await client.call(
        (c) => c.beginSave.bind(c),
        beginMessage({ step, facts: facts as never }),
        call,
      );
      let commit = "";
      for (const prepared of await persist(begun, { 0: [0, 1], 1: [2, 3, 4] }, salt)) {
        const answer = await client.call(
          (c) => c.reportPrepared.bind(c),
          { key: begun.key, prepared },
          call,
        );
        commit = answer.commit;
      }
      return commit;
    }

    it("beginSave, reportPrepared, chooseHead, listCheckpoints, verifyCheckpoint, hashCheckpoint", async () => {
      const commit = await saveWhole(10, 3);
      expect(commit).toBe("00000000000000000010-0000000001-000");
      const { head } = await client.call((c) => c.chooseHead.bind(c), { run: RUN }, call);
      expect(head).toMatchObject({ commit, step: 10n, status: "committed", worldSize: 2 });
      expect(head?.path).toBe(pathToFileURL(join(folder, "checkpoints", RUN)).href);
      const listed = await client.call(
        (c) => c.listCheckpoints.bind(c),
        { tenant: "default", run: "" },
        call,
      );
      expect(listed.checkpoints.map((one) => one.commit)).toEqual([commit]);
      const foreign = await client.call(
        (c) => c.listCheckpoints.bind(c),
        { tenant: "other", run: "" },
        call,
      );
      expect(foreign.checkpoints).toEqual([]);
      for (const level of ["quick", "crc", "full"]) {
        const verdict = await client.call(
          (c) => c.verifyCheckpoint.bind(c),
          { run: RUN, commit, level },
          call,
        );
        expect(verdict.problems).toEqual([]);
      }
      const { createHash } = await import("node:crypto");
      const hashes = await client.call((c) => c.hashCheckpoint.bind(c), { run: RUN, commit }, call);
      expect(hashes.weightsSha256).toBe(
        createHash("sha256")
          .update(stateBytes("master", 0, 300, 3))
          .digest("hex"),
      );
    });

    it("abortSave decides, and the answer stays", async () => {
      const begun = await client.call((c) => c.beginSave.bind(c), beginMessage({ step: 50 }), call);
      const request = { key: begun.key, reason: "membership", detail: "a member left" };
      const answer = await client.call((c) => c.abortSave.bind(c), request, call);
      expect(answer).toEqual({ status: "aborted", commit: "" });
      expect(await client.call((c) => c.abortSave.bind(c), request, call)).toEqual(answer);
    });

    it("what TypeScript commits Python restores at another world size, and refuses when a byte is wrong", async () => {
      const commit = await saveWhole(20, 9);
      const code = `
import json, sys, numpy as np
from shardwright_trainer.files.restore import restore
from shardwright_trainer.plan.config import BlockMap, BlockRun, FlatLayout, FlatTensor
from tests.files_write_save import KINDS, bits
t = (FlatTensor(fqn="a.weight", shape=(10, 10), begin=0, end=100), FlatTensor(fqn="b.weight", shape=(200,), begin=100, end=300))
layout = FlatLayout(tensors=t, elements=300, fingerprint="")
runs = tuple(BlockRun(first_block=b, blocks=1, holders=(b % 3,)) for b in range(10))
block_map = BlockMap(elements=300, block_elements=32, blocks=10, runs=runs)
for rank in range(3):
    state = restore(sys.argv[1], sys.argv[2], layout, block_map, rank)
    for number, kind in enumerate(KINDS):
        for block, array in state.blocks[kind].items():
            assert (array.view(np.uint32) == bits(300, number, 9)[block * 32 : block * 32 + 32]).all()
print(state.step)
`;
      const address = pathToFileURL(join(folder, "checkpoints", RUN)).href;
      const restored = await run(python ?? "", ["-c", code, address, commit], { cwd: TRAINER });
      expect(restored.stdout.trim()).toBe("20");
      const copy = join(folder, "copy");
      await cp(join(folder, "checkpoints", RUN), copy, { recursive: true });
      const save =
        (await readdir(join(copy, "data"))).find((name) => name.startsWith(commit)) ?? "";
      const pack = join(copy, "data", save, "w00001.000-00.safetensors");
      const bytes = await readFile(pack);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      await writeFile(pack, bytes);
      await expect(run(python ?? "", ["-c", code, copy, commit], { cwd: TRAINER })).rejects.toThrow(
        /SWC_CORRUPT_BLOCK/,
      );
    });

    it("exportCheckpoint refuses with a reason what cannot be exported", async () => {
      await saveWhole(30, 1);
      const order = {
        run: RUN,
        commit: "",
        format: "peft",
        merge: false,
        outputDirectory: join(folder, "out"),
        dtype: "",
      };
      const all = async (over: object): Promise<ExportCheckpointResponse[]> => {
        const events: ExportCheckpointResponse[] = [];
        for await (const event of client.stream((c) => c.exportCheckpoint.bind(c), {
          ...order,
          ...over,
        }))
          events.push(event);
        return events;
      };
      await expect(all({})).rejects.toThrow(
        /SWC_EXPORT_REFUSED: export: the job tuned all weights/,
      );
      await expect(all({ format: "onnx" })).rejects.toThrow(/"onnx" is none of peft, hf/);
      await expect(all({ format: "hf", merge: true })).rejects.toThrow(/nothing to merge/);
      expect(existsSync(join(folder, "out"))).toBe(false);
    });

    it("deleteRun removes everything, and only then nothing is listed", async () => {
      await client.call((c) => c.deleteRun.bind(c), { run: RUN }, call);
      expect(existsSync(join(folder, "checkpoints", RUN))).toBe(false);
      const listed = await client.call(
        (c) => c.listCheckpoints.bind(c),
        { tenant: "", run: RUN },
        call,
      );
      expect(listed.checkpoints).toEqual([]);
    });

    it("asks for the token, and for sound arguments with every complaint", async () => {
      const stranger = connect(CheckpointServiceClient, manager.address, "another-token-000000");
      await expect(stranger.call((c) => c.chooseHead.bind(c), { run: RUN }, call)).rejects.toThrow(
        /not valid/,
      );
      stranger.close();
      await expect(
        client.call((c) => c.deleteRun.bind(c), { run: "../etc" }, call),
      ).rejects.toThrow(/not a ULID/);
      const bad = { ...beginMessage(), trigger: "now", factsJson: "[1]", layout: undefined };
      await expect(client.call((c) => c.beginSave.bind(c), bad, call)).rejects.toMatchObject({
        kind: "invalid",
        complaints: [{ path: "layout" }, { path: "trigger" }, { path: "facts_json" }],
      });
      const verify = { run: RUN, commit: "x", level: "full" };
      await expect(client.call((c) => c.verifyCheckpoint.bind(c), verify, call)).rejects.toThrow(
        /not a commit key/,
      );
    });
  },
);
