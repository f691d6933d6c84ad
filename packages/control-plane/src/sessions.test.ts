import type { SessionResponse } from "@shardwright/proto";
import { describe, expect, it } from "vitest";
import { aDocument, aPlan, aSpec } from "../../../test/support/job-builder.ts";
import { openLedger } from "./core/ledger.ts";
import { decide } from "./core/lifecycle.ts";
import { POLICY_DEFAULT } from "./core/policy.ts";
import type { JobState } from "./core/state.ts";
import { NOTHING_TALLIED } from "./core/tally.ts";
import type { JobRecord } from "./ports.ts";
import { agentDefinition } from "./rpc/agent-definition.ts";
import { createSessions } from "./sessions.ts";

const queued: JobState = {
  ...{ phase: "queued", uid: "u", spec: aSpec(), submittedPlan: aPlan(), effects: [] },
  ...{ reason: { code: "Submitted", sentence: "" }, ledger: openLedger(0) },
  ...{ tallies: NOTHING_TALLIED, sinceMs: 0 },
} as JobState;
const members = ["m0", "m1"].map((name) => ({ name, node: "n0" }));
const reason = { code: "Placed", sentence: "" };
const active = decide(queued, { kind: "placed", members, reason }, 0, POLICY_DEFAULT).state;

function recordOf(uid: string, state: JobState): JobRecord {
  return { uid, name: "a", document: aDocument("a"), state } as JobRecord;
}

/** Sessions that keep what each member was sent. */
function heard(...who: readonly (readonly [uid: string, member: string])[]) {
  const sessions = createSessions({
    contextOf: (record, member) => ({ record, specJson: "{}", member, workDirectory: "/w" }),
  });
  const sent = who.map(() => [] as SessionResponse[]);
  const ended = who.map(() => 0);
  const leave = who.map(([uid, member], at) =>
    sessions.open({
      ...{ uid, member, incarnation: 1 },
      send: (response) => sent[at]?.push(response),
      end: () => {
        ended[at] = (ended[at] ?? 0) + 1;
      },
    }),
  );
  const cases = () => sent.map((responses) => responses.map(({ body }) => body?.$case));
  return { sessions, sent, ended, leave, cases };
}

describe("sessions", () => {
  it("tell each member of a job once what it should know, and nobody of another job", () => {
    const { sessions, cases } = heard(["u", "m0"], ["u", "m1"], ["other", "m0"]);
    sessions.update(recordOf("u", active));
    sessions.update(recordOf("u", active));
    expect(cases()).toEqual([["load"], ["load"], []]);
    sessions.broadcast("u", { generation: 0n, body: { $case: "stop", value: { why: "x" } } });
    expect(cases()).toEqual([["load", "stop"], ["load", "stop"], []]);
  });

  it("greet one member without telling the others", () => {
    const { sessions, cases } = heard(["u", "m0"], ["u", "m1"]);
    sessions.updateOne(recordOf("u", active), "m1");
    expect(cases()).toEqual([[], ["load"]]);
  });

  it("end the older stream of a member, whose own end then means nothing", () => {
    const { sessions, ended, leave, cases } = heard(["u", "m0"], ["u", "m0"]);
    expect(ended).toEqual([1, 0]);
    expect(leave[0]?.()).toBe(false);
    sessions.updateOne(recordOf("u", active), "m0");
    expect(cases()).toEqual([[], ["load"]]);
    expect(leave[1]?.()).toBe(true);
    sessions.update(recordOf("u", active));
    expect(cases()).toEqual([[], ["load"]]);
  });

  it("end the stream of an incarnation that was replaced", () => {
    const { sessions, ended } = heard(["u", "m0"], ["u", "m1"]);
    const gone = { kind: "gone", cause: "node", member: "m0", incarnation: 1 } as const;
    const replaced = decide(active, { ...gone, sentence: "x" }, 1, POLICY_DEFAULT).state;
    sessions.update(recordOf("u", replaced));
    expect(ended).toEqual([1, 0]);
  });

  it("make what is the same for all members once, and encode it once", () => {
    const { sessions, sent } = heard(["u", "m0"], ["u", "m1"]);
    if (active.phase !== "active") throw new Error("not placed");
    const over: JobState = { ...active, phase: "cancelled", live: active.live };
    sessions.update(recordOf("u", over));
    const [[first] = [], [second] = []] = sent;
    expect(first?.body?.$case).toBe("stop");
    expect(second).toBe(first);
    const { responseSerialize } = agentDefinition().session;
    if (first === undefined) throw new Error("nothing was sent");
    expect(responseSerialize(first)).toBe(responseSerialize(first));
    expect(responseSerialize({ ...first })).toEqual(responseSerialize(first));
  });
});
