/** A job of two members with one rank each that trains in generation 1, as the core sees it. */

import type { JobEvent, MemberEvent } from "../../packages/control-plane/src/core/events.ts";
import { openLedger } from "../../packages/control-plane/src/core/ledger.ts";
import { decide } from "../../packages/control-plane/src/core/lifecycle.ts";
import { POLICY_DEFAULT } from "../../packages/control-plane/src/core/policy.ts";
import type { JobState } from "../../packages/control-plane/src/core/state.ts";
import { NOTHING_MEASURED } from "../../packages/control-plane/src/core/step-measure.ts";
import { NOTHING_TALLIED } from "../../packages/control-plane/src/core/tally.ts";
import { aPlan, aSpec, someFacts } from "./job-builder.ts";

export const members = ["m0", "m1"];
export const facts = { ...someFacts({ elements: 200_000, totalSteps: 20 }), rows: 160 };
export const progress = {
  loss: 1,
  gradNorm: 1,
  learningRate: 1,
  seconds: 1,
  meanSeconds: 1,
  tokensPerSecond: 1,
  measured: NOTHING_MEASURED,
  trainedTokens: 1,
  processedTokens: 1,
  atMs: 0,
};

/** The state after these events, at one moment. */
export function after(state: JobState, ...events: readonly JobEvent[]): JobState {
  return events.reduce((one, event) => decide(one, event, 1_000, POLICY_DEFAULT).state, state);
}

export function queued(): JobState {
  return {
    phase: "queued",
    uid: "u",
    spec: aSpec(),
    submittedPlan: aPlan(),
    reason: { code: "Submitted", sentence: "" },
    effects: [],
    ledger: openLedger(0),
    tallies: NOTHING_TALLIED,
    sinceMs: 0,
  };
}

/** Two members, one rank each, generation 1 committed, step 10 recorded. */
export function training(): JobState {
  const loaded = members.flatMap((member, index): MemberEvent[] => [
    { kind: "hello", member, incarnation: 1, pid: index + 1, loaded: false, runningGeneration: 0 },
    {
      kind: "loaded",
      member,
      incarnation: 1,
      facts,
      ranks: [{ localRank: 0, pid: 11 + index, holding: null }],
    },
  ]);
  const prepared = after(
    queued(),
    {
      kind: "placed",
      members: members.map((name) => ({ name, node: "n" })),
      reason: { code: "Placed", sentence: "" },
    },
    ...loaded,
    { kind: "settled", effectId: "store:1", outcome: { kind: "store", host: "h", port: 1 } },
    ...members.map((name): JobEvent => {
      const effectId = `launch:${name}:1`;
      return { kind: "settled", effectId, outcome: { kind: "done" } };
    }),
  );
  if (prepared.phase !== "active" || prepared.live.prepared === null)
    throw new Error(`generation 1 was not prepared: ${JSON.stringify(prepared.reason)}`);
  const { seats, blockMap } = prepared.live.prepared;
  const ready = seats.map(({ member, rank }): MemberEvent => {
    const holds = (isOwner: boolean): number =>
      blockMap.runs.reduce(
        (sum, { holders, blocks }) =>
          sum + (holders.includes(rank) && (holders[0] === rank) === isOwner ? blocks : 0),
        0,
      );
    const evidence = {
      rank,
      ownedBlocks: holds(true),
      replicaBlocks: holds(false),
      version: 0,
      sentBytes: 0,
      receivedBytes: 0,
    };
    return {
      kind: "ready",
      member,
      incarnation: 1,
      generation: 1,
      evidence: [evidence],
      seconds: 1,
    };
  });
  return after(prepared, ...ready, { kind: "stepped", step: 10, facts: progress, laneTimes: [] });
}
