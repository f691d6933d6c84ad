import { memberName } from "@shardwright/job";
import { Fault } from "@shardwright/job/faults";
import { freeSlots, withHoldings } from "@shardwright/scheduler";
import { liveOf } from "./core/state.ts";
import type { JobRecord, JobStore, Launcher } from "./ports.ts";
import { holdingsOf } from "./schedule.ts";

export interface ScaleWorld {
  readonly store: Pick<JobStore, "load" | "unfinished">;
  readonly launcher: Pick<Launcher, "snapshot">;
}

/** The members of a running job when it has this many; new ones where there is room. Fault `conflict` when not. */
export async function membersWanted(
  uid: string,
  members: number,
  world: ScaleWorld,
): Promise<readonly { readonly name: string; readonly node: string }[]> {
  // 1. The job, and what it may have.
  const record = await world.store.load(uid);
  if (record?.state.phase !== "active") {
    throw new Fault(
      "conflict",
      `job ${record?.name ?? uid} does not run; only a running job can be scaled`,
    );
  }
  refuseOutOfRange(record, members);
  // 2. Those that are there stay where they are; new ones go where there is room.
  const { live } = record.state;
  const others = (await world.store.unfinished()).flatMap(holdingsOf);
  const snapshot = withHoldings(world.launcher.snapshot(), others);
  const free = new Map(freeSlots(snapshot));
  const slots = live.plan.ranksPerMember;
  return Array.from({ length: members }, (_, slot) => {
    const name = memberName(record.name, slot);
    const known = live.members.find((member) => member.name === name);
    if (known !== undefined) return { name, node: known.node };
    const node = [...free].find(([, room]) => room >= slots)?.[0];
    if (node === undefined) {
      const has = [...free].map(([where, room]) => `${where} ${room}`).join(", ");
      throw new Fault(
        "conflict",
        `there is no room for member ${slot + 1} of ${slots} slots; free: ${has}`,
      );
    }
    free.set(node, (free.get(node) ?? 0) - slots);
    return { name, node };
  });
}

function refuseOutOfRange({ name, state }: JobRecord, members: number): void {
  const { min, max } = state.spec.resources.members;
  const plan = liveOf(state)?.plan ?? state.submittedPlan;
  // A rank without a lane would only wait.
  const most = Math.min(
    max ?? Number.POSITIVE_INFINITY,
    Math.floor(plan.recipe.lanes / plan.ranksPerMember),
  );
  const least = min ?? 1;
  if (members >= least && members <= most) return;
  const why = `job ${name} can have ${least} to ${most} members (spec.resources.members and ${plan.recipe.lanes} lanes)`;
  throw new Fault("invalid", "the number of members is out of range", {
    complaints: [{ path: "members", problem: `${members}: ${why}` }],
  });
}
