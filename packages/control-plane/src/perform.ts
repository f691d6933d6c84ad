import { Fault } from "@shardwright/job/faults";
import type { Log } from "@shardwright/service";
import { consumedSha256 } from "./consumed.ts";
import type { Outcome } from "./core/events.ts";
import type { Effect } from "./core/state.ts";
import { memberToken } from "./member-token.ts";
import type { Checkpoints, JobHistory, JobRecord, Launcher } from "./ports.ts";

export interface PerformWorld {
  readonly launcher: Launcher;
  readonly checkpoints: Checkpoints;
  readonly history: JobHistory;
  readonly memberSecret: string;
  /** Absolute folder that exports without a destination go to. */
  readonly exportsDirectory: string;
  /** Tells a member's agent to end and respawn one rank. */
  readonly restartRank: (
    record: JobRecord,
    effect: Extract<Effect, { kind: "restartRank" }>,
  ) => void;
  /** Takes the job's row out of the journal; of one that is gone is success. */
  readonly forget: (uid: string) => Promise<void>;
  readonly sleep: (ms: number) => Promise<void>;
  readonly log: Log;
}

// A minute and a half in all: services restart, disks come back.
const TRIES_MAX = 12;
const BACKOFF_MS_FIRST = 200;
const BACKOFF_MS_MAX = 15_000;

/** Does one effect, with tries of its own; never rejects. What became of it is the outcome. */
export async function perform(
  effect: Effect,
  record: JobRecord,
  world: PerformWorld,
): Promise<Outcome> {
  let last: unknown;
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (attempt > 0)
      await world.sleep(Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** (attempt - 1)));
    try {
      return await once(effect, record, world);
    } catch (reason) {
      last = reason;
      world.log.warn({ job: record.name, effect: effect.id, err: reason }, "an effect failed");
      // What the other side refuses for a reason it will refuse again.
      if (reason instanceof Fault && (reason.kind === "invalid" || reason.kind === "conflict"))
        break;
    }
  }
  const fault = Fault.from(last);
  const detail = fault.complaints.map(({ path, problem }) => `; ${path}: ${problem}`).join("");
  const sentence = `${last instanceof Error ? last.message : fault.message}${detail}`;
  return {
    kind: "failed",
    reason: { code: "EffectFailed", sentence: `${effect.kind}: ${sentence}` },
  };
}

async function once(effect: Effect, record: JobRecord, world: PerformWorld): Promise<Outcome> {
  const { launcher, checkpoints } = world;
  const { uid } = record;
  switch (effect.kind) {
    case "launchMember": {
      const { member, slot, incarnation, node } = effect;
      const token = memberToken(world.memberSecret, { uid, member, incarnation });
      await launcher.launchMember({
        uid,
        jobName: record.name,
        member,
        slot,
        incarnation,
        node,
        token,
      });
      return { kind: "done" };
    }
    case "stopMember":
      await launcher.stopMember(uid, effect.member, effect.incarnation);
      return { kind: "done" };
    case "restartRank":
      world.restartRank(record, effect);
      return { kind: "done" };
    case "release":
      await launcher.release(uid);
      return { kind: "done" };
    case "erase":
      // Members write into the checkpoints, and the row remembers them: one after the other.
      await launcher.release(uid);
      if (effect.checkpoints) await checkpoints.deleteRun(uid);
      await world.forget(uid);
      return { kind: "done" };
    case "ensureStore":
      return { kind: "store", ...(await launcher.ensureStore()) };
    case "chooseHead": {
      const head = await checkpoints.head(uid);
      if (head === null) return { kind: "head", head: { kind: "none" } };
      return {
        kind: "head",
        head: { kind: "commit", commit: head.commit, step: head.step, directory: head.path },
      };
    }
    case "beginSave": {
      const { step, generation, trigger } = effect;
      const request = {
        run: uid,
        tenant: record.tenant,
        jobName: record.name,
        step,
        generation,
        trigger,
        state: record.state,
      };
      return { kind: "begun", ...(await checkpoints.begin(request)) };
    }
    case "reportPrepared":
      return { kind: "save", ...(await checkpoints.reportPrepared(effect.key, effect.prepared)) };
    case "abortSave":
      return {
        kind: "abortAnswered",
        commit: await checkpoints.abort(effect.key, effect.reason, effect.detail),
      };
    case "hash":
      return {
        kind: "hashes",
        ...(await checkpoints.hash(uid, effect.commit)),
        consumedSha256: await consumedSha256(world.history, record),
      };
    case "export":
      return { kind: "exported", location: await exportOne(effect, record, world) };
    default:
      return effect satisfies never;
  }
}

async function exportOne(
  effect: Extract<Effect, { kind: "export" }>,
  record: JobRecord,
  world: PerformWorld,
): Promise<string> {
  const wanted = record.state.spec.export[effect.index];
  if (wanted === undefined) throw new Error(`job ${record.name} has no export ${effect.index}`);
  const { format, merge, destination } = wanted;
  const outputDirectory =
    destination?.replace(/^file:\/\//, "") ?? `${world.exportsDirectory}/${record.name}/${format}`;
  return await world.checkpoints.export({
    run: record.uid,
    commit: effect.commit,
    format,
    merge,
    outputDirectory,
  });
}
