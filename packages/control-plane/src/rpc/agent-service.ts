import { Fault } from "@shardwright/job/faults";
import type { Beat, SessionRequest, SessionResponse, StepReport } from "@shardwright/proto";
import type { Caller, Log } from "@shardwright/service";
import type { MemberEvent } from "../core/events.ts";
import { hangAfterMs } from "../core/liveness.ts";
import { liveOf } from "../core/state.ts";
import type { MemberLogs } from "../member-logs.ts";
import { type MemberClaims, readMemberToken } from "../member-token.ts";
import type { JobRecord } from "../ports.ts";
import type { Sessions } from "../sessions.ts";
import type { StepRows } from "../step-rows.ts";
import { eventOf } from "./agent-wire.ts";

export interface AgentWorld {
  readonly memberSecret: string;
  readonly sessions: Sessions;
  readonly steps: StepRows;
  readonly logs: MemberLogs;
  /** The newest record; null when the job is gone. */
  readonly recordOf: (uid: string) => Promise<JobRecord | null>;
  /** Decides on what a member said; resolves when it is durable. */
  readonly deliver: (uid: string, event: MemberEvent) => Promise<void>;
  /** A rank that its agent has not heard for so long hangs [ms]. */
  readonly hangMs: number;
  readonly log: Log;
}

// Directives of one member that it has not read yet; it is gone or stuck long before.
const OUTBOUND_MAX = 1_000;

/**
 * One stream of one member: authenticate, Hello, then its messages in order while its directives go out. Ends
 * cleanly at drain; the member connects again.
 */
export async function* agentSession(
  world: AgentWorld,
  requests: AsyncIterable<SessionRequest>,
  caller: Caller,
): AsyncGenerator<SessionResponse, void, void> {
  // 1. Who is it? The token names one incarnation of one member.
  const claims = readMemberToken(world.memberSecret, caller.token);
  const record = await world.recordOf(claims.uid);
  if (record === null) throw new Fault("not_found", "the job of this member is gone");
  refuseFenced(record, claims);
  // 2. Its directives: what the state says it should have been told, and what comes later.
  const outbound = createOutbound(caller.signal);
  const { uid, member, incarnation } = claims;
  const close = world.sessions.open({
    uid,
    member,
    incarnation,
    send: outbound.push,
    end: outbound.end,
  });
  // 3. Its messages, until it hangs up.
  const reading = readMessages(world, requests, claims).then(outbound.end, outbound.fail);
  try {
    yield* outbound.messages();
  } finally {
    outbound.end();
    if (close())
      await world.deliver(uid, { kind: "streamLost", member, incarnation }).catch(() => undefined);
    void reading;
  }
}

function refuseFenced(record: JobRecord, claims: MemberClaims): void {
  const live = liveOf(record.state);
  const member = live?.members.find(({ name }) => name === claims.member);
  // A member that left before the end is told to stop; one that was replaced is never heard, also not after the end.
  const hasLeft = member === undefined && record.state.phase !== "active";
  if (hasLeft || member?.incarnation === claims.incarnation) return;
  throw new Fault(
    "conflict",
    `incarnation ${claims.incarnation} of member ${claims.member} was replaced by ${member?.incarnation ?? "none"}`,
  );
}

async function readMessages(
  world: AgentWorld,
  requests: AsyncIterable<SessionRequest>,
  claims: MemberClaims,
): Promise<void> {
  const { uid, member, incarnation } = claims;
  let isFirst = true;
  for await (const request of requests) {
    if (isFirst && request.body?.$case !== "hello")
      throw new Fault("invalid", "the first message must be Hello");
    isFirst = false;
    const { body } = request;
    if (body?.$case === "step") {
      await addStep(world, claims, { report: body.value, generation: Number(request.generation) });
      continue;
    }
    if (body?.$case === "beat") {
      await judgeBeat(world, claims, body.value);
      continue;
    }
    if (body?.$case === "logs") {
      await world.logs.append(claims, body.value.lines);
      continue;
    }
    const said = eventOf(request);
    if (said !== null) await world.deliver(uid, { ...said, member, incarnation });
    if (body?.$case === "hello") await greet(world, claims);
  }
}

/** Tells a member that has come, or come back, everything that it should know by now. */
async function greet({ recordOf, sessions }: AgentWorld, claims: MemberClaims): Promise<void> {
  const record = await recordOf(claims.uid);
  if (record !== null) sessions.updateOne(record, claims.member);
}

async function addStep(
  world: AgentWorld,
  { uid, member }: MemberClaims,
  said: { readonly report: StepReport; readonly generation: number },
): Promise<void> {
  const record = await world.recordOf(uid);
  const live = record === null ? null : liveOf(record.state);
  if (record === null || live === null) return;
  const known = { step: live.step, facts: live.progress };
  const { lanes } = live.plan.recipe;
  world.steps.add(said.report, { uid, member, generation: said.generation, lanes, known });
}

/** A rank that its own agent has not heard for too long hangs; it is named, ended and respawned. */
async function judgeBeat(
  world: AgentWorld,
  { uid, member, incarnation }: MemberClaims,
  beat: Beat,
): Promise<void> {
  const record = await world.recordOf(uid);
  const live = record === null ? null : liveOf(record.state);
  if (live?.committed == null) return;
  const limitMs = hangAfterMs(
    world.hangMs,
    live.progress?.seconds ?? live.plan.stepSecondsPredicted,
  );
  for (const rank of beat.ranks) {
    if (rank.silentMs <= limitMs) continue;
    const slot = live.members
      .find(({ name }) => name === member)
      ?.ranks.find(({ localRank }) => localRank === rank.localRank);
    if (slot?.state !== "busy") continue;
    const sentence = `local rank ${rank.localRank} of member ${member} has been silent for ${Math.round(rank.silentMs / 1000)} s in phase ${rank.phase}`;
    await world.deliver(uid, {
      kind: "hung",
      member,
      incarnation,
      localRank: rank.localRank,
      sentence,
    });
  }
}

interface Outbound {
  push(response: SessionResponse): void;
  end(): void;
  fail(reason: unknown): void;
  messages(): AsyncGenerator<SessionResponse, void, void>;
}

/** A bounded queue between who decides and the stream that writes. */
function createOutbound(signal: AbortSignal): Outbound {
  const queue: SessionResponse[] = [];
  let ended = false;
  let failure: { readonly reason: unknown } | null = null;
  let wake: (() => void) | null = null;
  const rouse = (): void => {
    wake?.();
    wake = null;
  };
  const end = (): void => {
    ended = true;
    rouse();
  };
  signal.addEventListener("abort", end, { once: true });
  return {
    push: (response) => {
      if (queue.length >= OUTBOUND_MAX) end();
      else queue.push(response);
      rouse();
    },
    end,
    fail: (reason) => {
      failure = { reason };
      end();
    },
    messages: async function* () {
      for (;;) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else if (failure !== null) throw failure.reason;
        else if (ended) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    },
  };
}
