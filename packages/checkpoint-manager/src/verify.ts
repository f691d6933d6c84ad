import { createHash } from "node:crypto";
import { dataFolder } from "./core/commit-key.ts";
import { type CommitRecord, merkleOf } from "./core/commit-record.ts";
import { proveCoverage } from "./core/coverage.ts";
import { contentsOf } from "./core/extents.ts";
import { parseMarker } from "./core/save-marker.ts";
import { RECORD_BYTES_MAX, unseal } from "./core/sealed.ts";
import type { Problem } from "./core/swc-problem.ts";
import { Damage, sound } from "./damage.ts";
import { computeStateDigest } from "./hash.ts";
import type { CheckpointStore } from "./ports.ts";
import {
  checkBlocks,
  type OpenPack,
  type OpenWriter,
  openWriter,
  readRegister,
  readSchema,
} from "./reader.ts";
import { sha256 } from "./sha256.ts";
import { readExactly, readText } from "./stored-file.ts";

/** quick: records, manifests, sizes, headers. crc: every data byte too. full: every digest too. */
export const VERIFY_LEVELS = ["quick", "crc", "full"] as const;
export type VerifyLevel = (typeof VERIFY_LEVELS)[number];

export interface Verdict {
  /** Nothing when the checkpoint is whole. */
  readonly problems: readonly Problem[];
  /** Data bytes read, headers and records not counted. */
  readonly bytesRead: number;
}

/** A damaged disk makes thousands; this many show what is wrong. */
const PROBLEMS_MAX = 100;
const READ_BYTES_MAX = 8 * 1024 * 1024;

/** Looks for everything that is wrong with a commit, as far as the level goes; changes nothing. */
export async function verifyCommit(
  store: CheckpointStore,
  key: string,
  level: VerifyLevel,
): Promise<Verdict> {
  const findings: Findings = { problems: [], bytesRead: 0 };
  await noting(findings, () => verify({ store, key, level }, findings));
  return { problems: findings.problems.slice(0, PROBLEMS_MAX), bytesRead: findings.bytesRead };
}

interface Findings {
  readonly problems: Problem[];
  bytesRead: number;
}

interface Order {
  readonly store: CheckpointStore;
  readonly key: string;
  readonly level: VerifyLevel;
}

async function verify({ store, key, level }: Order, findings: Findings): Promise<void> {
  // 1. The records.
  const register = await readRegister(store, key);
  if (register === null) throw Damage.of("SWC_MISSING_FILE", `commits/${key}.json: missing`);
  const record = sound(register);
  if (record.status !== "committed")
    throw Damage.of("SWC_NO_CHECKPOINT", `${key}: aborted: ${record.reason}`);
  await noting(findings, () => verifyMarkers(store, record));
  const schema = await readSchema(store, record.schema);
  // 2. Each writer's files by themselves, so that one bad file does not hide another.
  const writers: OpenWriter[] = [];
  for (const writer of record.writers) {
    await noting(findings, async () => void writers.push(await openWriter(store, record, writer)));
  }
  const packs = writers.flatMap((writer) => writer.packs);
  // 3. Together they are the whole.
  await noting(findings, async () => {
    const contents = sound(contentsOf(schema, record.schema.sha256, packs));
    findings.problems.push(...proveCoverage(schema, contents));
  });
  if (level === "quick") return;
  // 4. The data.
  for (const pack of packs) await verifyData({ store, key, level }, pack, findings);
  if (level === "crc" || findings.problems.length > 0) return;
  // 5. The digests over everything.
  const contents = sound(contentsOf(schema, record.schema.sha256, packs));
  const manifests = writers.map((writer) => writer.manifest);
  await verifyDigests({ store, record, schema, manifests, packs, contents });
}

/** run.json and save.json carry nothing that a load needs, but whoever audits a run reads them. */
async function verifyMarkers(store: CheckpointStore, record: CommitRecord): Promise<void> {
  sound(unseal("run.json", await readText(store, "run.json", RECORD_BYTES_MAX), sha256));
  const path = `data/${dataFolder(record, record.save_id)}/save.json`;
  const marker = sound(parseMarker(path, await readText(store, path, RECORD_BYTES_MAX), sha256));
  if (marker.save_id !== record.save_id || marker.run !== record.run) {
    throw Damage.of("SWC_BAD_RECORD", `${path}: the marker of another save`);
  }
}

async function verifyData(
  { store, level }: Order,
  pack: OpenPack,
  findings: Findings,
): Promise<void> {
  const digest = createHash("sha256");
  const step = Math.max(1, Math.floor(READ_BYTES_MAX / pack.crcBlock)) * pack.crcBlock;
  for (let at = 0; at < pack.bytes; at += step) {
    const read = await noting(findings, async () => {
      const bytes = await readExactly(store, pack.path, at, Math.min(at + step, pack.bytes));
      findings.bytesRead += bytes.length;
      digest.update(bytes);
      for (let block = 0; block < bytes.length; block += pack.crcBlock) {
        const one = bytes.subarray(block, block + pack.crcBlock);
        await noting(findings, async () => checkBlocks(pack, at + block, one));
      }
    });
    if (!read || findings.problems.length >= PROBLEMS_MAX) return;
  }
  const found = `sha256:${digest.digest("hex")}`;
  if (level === "full" && found !== pack.sha256) {
    const sentence = `${pack.path}: sha256 ${found}, expected ${pack.sha256}`;
    findings.problems.push({ code: "SWC_CORRUPT_FILE", sentence });
  }
}

async function verifyDigests(open: Parameters<typeof computeStateDigest>[0]): Promise<void> {
  const { record, packs } = open;
  const merkle = merkleOf(packs, sha256);
  if (merkle !== record.merkle) {
    throw Damage.of("SWC_CORRUPT_FILE", `merkle ${merkle}, the record says ${record.merkle}`);
  }
  if (record.state_digest === null) return;
  const state = await computeStateDigest(open);
  if (state !== record.state_digest) {
    throw Damage.of(
      "SWC_CORRUPT_FILE",
      `state digest ${state}, the record says ${record.state_digest}`,
    );
  }
}

/** Runs a part; what it finds is noted and does not stop the others. Says whether it went through. */
async function noting(findings: Findings, part: () => Promise<void>): Promise<boolean> {
  try {
    await part();
    return true;
  } catch (reason) {
    if (!(reason instanceof Damage)) throw reason;
    findings.problems.push(reason.problem);
    return false;
  }
}
