import { randomUUID } from "node:crypto";
import { Damage } from "./damage.ts";
import type { CheckpointStore } from "./ports.ts";
import { sha256 } from "./sha256.ts";

const CONTENDERS = 32;
const LARGE_BYTES = 8 * 1024 * 1024;

/**
 * Tries whether a store keeps what the commit rests on: of many concurrent creations of one name exactly one
 * wins and its content stands; a removed name is free again; large writes come back whole. Returns a digest of
 * what was tried, for run.json. Throws Damage SWC_STORE_UNSAFE, then no save may begin.
 */
export async function probeStore(store: CheckpointStore): Promise<string> {
  const folder = `.probe-${randomUUID()}`;
  try {
    await contend(store, `${folder}/register`);
    await store.remove(`${folder}/register`);
    await contend(store, `${folder}/register`);
    const large = new Uint8Array(LARGE_BYTES).map((_, index) => (index * 131) & 255);
    await store.create(`${folder}/large`, large);
    const back = await store.readRange(`${folder}/large`, 0, LARGE_BYTES);
    if (!Buffer.from(large.buffer).equals(back))
      throw unsafe("8 MiB write and read failed: the bytes differ");
    const names = await store.list(folder);
    if (names.join() !== "large,register")
      throw unsafe(`list after create failed: ${names.join()}`);
    return sha256(`posix-v1 ${CONTENDERS} contenders twice, ${LARGE_BYTES} bytes`);
  } finally {
    await store.remove(folder);
  }
}

async function contend(store: CheckpointStore, path: string): Promise<void> {
  const bodies = Array.from({ length: CONTENDERS }, (_, index) =>
    Buffer.from(`contender ${index}`),
  );
  const results = await Promise.all(bodies.map((body) => store.create(path, body)));
  const winners = results.flatMap((result, index) => (result.outcome === "created" ? [index] : []));
  if (winners.length !== 1) {
    throw unsafe(
      `link failed: ${winners.length} of ${CONTENDERS} conditional writes succeeded, expected 1`,
    );
  }
  const standing = Buffer.from(await store.readRange(path, 0, 64)).toString();
  if (standing !== `contender ${winners[0]}`)
    throw unsafe(`link failed: "${standing}" stands, not the winner`);
}

function unsafe(sentence: string): Damage {
  return Damage.of("SWC_STORE_UNSAFE", sentence);
}
