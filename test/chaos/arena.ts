/** One `shardctl up` with its tap, and how a schedule is done to a job in it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Embedded, tinyJob } from "../e2e/harness.ts";
import type { Deed, Schedule, Target } from "./schedule.ts";
import { Tap } from "./tap.ts";
import { signal, victimsOf } from "./victims.ts";

/** What was done, and what of it must show. */
export interface Disturbed {
  /** Deeds that were due before the job ended. */
  readonly done: number;
  /** Generations that certainly lost a rank on the way: each is followed by another one. */
  readonly hit: ReadonlySet<number>;
}

// Kills this near to the end may need no generation more: the final save may be on its way already.
const END_STEPS = 40;

export class Arena {
  readonly embedded: Embedded;
  readonly tap: Tap;
  readonly folder: string;

  private constructor(embedded: Embedded, folder: string) {
    this.embedded = embedded;
    this.folder = folder;
    this.tap = new Tap(embedded.dataDir);
  }

  /** `folder`: models and data. `python`: the trainer's interpreter when it is not the usual one. */
  static async start(folder: string, python?: string): Promise<Arena> {
    return new Arena(await Embedded.start(python), folder);
  }

  /** Services, tap and members end; the data directory is deleted unless it is kept for somebody to look at. */
  async close(keep = false): Promise<void> {
    this.tap.close();
    await this.embedded.ctl("down");
    if (!keep) await this.embedded.stop();
  }

  /** Does every deed when it is due. */
  async disturb(name: string, schedule: Schedule): Promise<Disturbed> {
    const hit = new Set<number>();
    const isFarFromEnd = (): boolean =>
      this.tap.job(name)?.phase === "active" &&
      (this.tap.job(name)?.step ?? 0) < schedule.steps - END_STEPS;
    const kill = (targets: readonly Target[]): void => {
      const job = this.tap.job(name);
      const pids = this.#pidsOf(name, targets);
      signal(pids, "SIGKILL");
      if (job === undefined || job.committed === null || !isFarFromEnd()) return;
      if (pids.some((pid) => job.pids.includes(pid))) hit.add(job.committed);
    };
    let done = 0;
    const pauses: Promise<void>[] = [];
    for (const deed of schedule.deeds) {
      if (!(await this.tap.due(name, deed.when))) break;
      done += 1;
      await this.#perform({ name, deed, kill, pauses });
    }
    await Promise.all(pauses);
    return { hit, done };
  }

  async #perform(order: {
    readonly name: string;
    readonly deed: Deed;
    readonly kill: (targets: readonly Target[]) => void;
    readonly pauses: Promise<void>[];
  }): Promise<void> {
    const { name, deed, kill, pauses } = order;
    switch (deed.what) {
      case "kill":
        return kill(deed.targets);
      case "terminate":
        return signal(this.#pidsOf(name, deed.targets), "SIGTERM");
      case "scale": {
        // Refused when the job is over by then; anything else shows in how it ends.
        await this.embedded.ctl("scale", name, "--members", `${deed.members}`);
        return;
      }
      case "stop": {
        const pids = this.#pidsOf(name, deed.targets);
        signal(pids, "SIGSTOP");
        pauses.push(sleep(deed.pauseMs).then(() => signal(pids, "SIGCONT")));
        return;
      }
      case "restart":
        await this.embedded.killServices();
        await sleep(deed.downMs / 2);
        kill(deed.meanwhile);
        await sleep(deed.downMs / 2);
        return await this.embedded.up();
      default:
        deed satisfies never;
    }
  }

  #pidsOf(name: string, targets: readonly Target[]): readonly number[] {
    const uid = this.tap.job(name)?.uid;
    if (uid === undefined) return [];
    const found = targets.flatMap((target) => victimsOf(target, uid, this.#storePid()));
    return [...new Set(found.map(({ pid }) => pid))];
  }

  #storePid(): number | undefined {
    const path = join(this.embedded.dataDir, "store.json");
    if (!existsSync(path)) return undefined;
    return (JSON.parse(readFileSync(path, "utf8")) as { pid?: number }).pid;
  }
}

/** The job of a schedule. Its bits depend on method and steps alone: not on members, ranks or saves. */
export function chaosJob(
  folder: string,
  name: string,
  shape: Omit<Schedule, "seed" | "deeds">,
): { metadata: { name: string } } {
  const { method, members, membersMax, saveEverySteps, ranksPerMember, steps } = shape;
  const budget = 1_000; // budgets have tests of their own
  return tinyJob(folder, {
    name,
    method,
    members,
    steps,
    extra: {
      checkpoint: { every: { steps: saveEverySteps }, keepLast: 2 },
      resources: {
        members: { replicas: members, min: 1, max: membersMax, ranks: ranksPerMember },
      },
      faultBudget: {
        error: budget,
        oom: budget,
        communication: budget,
        hang: budget,
        node: budget,
        storage: budget,
      },
    },
  });
}

/** The same job with nobody to disturb it: one rank, no save but the last. */
export function calmShape({
  method,
  steps,
}: Pick<Schedule, "method" | "steps">): Omit<Schedule, "seed" | "deeds"> {
  return { method, steps, members: 1, membersMax: 1, ranksPerMember: 1, saveEverySteps: 10_000 };
}
