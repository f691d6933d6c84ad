/** What an agent has to say: now if there is a stream, and again with the next ones while it holds. */

import type { MemberEvent } from "../../packages/control-plane/src/core/events.ts";
import type { Holding } from "../../packages/control-plane/src/core/state.ts";
import { findSeat } from "./plans.ts";
import type { ModelAgent } from "./state.ts";

/** Said now if there is a stream, and again with the next ones while it holds. */
export function post(agent: ModelAgent, key: string, said: MemberEvent): void {
  withdraw(agent, key);
  agent.standing = [...agent.standing, [key, said]];
  if (agent.connected) agent.up.push(said);
}

export function withdraw(agent: ModelAgent, ...keys: readonly string[]): void {
  agent.standing = agent.standing.filter(([key]) => !keys.includes(key));
}

export function withdrawPrefix(agent: ModelAgent, prefix: string): void {
  agent.standing = agent.standing.filter(([key]) => !key.startsWith(prefix));
}

/** Where its rank stopped; a rank that is not at a boundary says nothing. */
export function tellInterrupted(agent: ModelAgent): void {
  if (!agent.waits) return;
  const { member, incarnation, rank, running } = agent;
  post(agent, "interrupted", {
    kind: "interrupted",
    member,
    incarnation,
    generation: running,
    ranks: [{ localRank: 0, pid: rank.pid, holding: holdingOf(agent) }],
  });
}

function holdingOf({ rank, member }: ModelAgent): Holding {
  const { held, version, pending } = rank;
  if (held === null) return { generation: 0, rank: 0, version: 0, pending: false };
  const at = findSeat(held, { member })?.rank ?? 0;
  return { generation: held.number, rank: at, version, pending: pending === "agreed" };
}
