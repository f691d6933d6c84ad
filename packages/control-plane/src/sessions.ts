import type { SessionResponse } from "@shardwright/proto";
import { type Directive, directivesOf } from "./core/directives.ts";
import { liveOf } from "./core/state.ts";
import type { JobRecord } from "./ports.ts";
import { type DirectiveContext, directiveToWire } from "./rpc/directive-wire.ts";

/** The open stream of one member. */
export interface Session {
  readonly uid: string;
  readonly member: string;
  readonly incarnation: number;
  send(response: SessionResponse): void;
  /** Ends the stream: another one of the same member took its place, or the member is fenced. */
  end(): void;
}

/** Who is connected, and what each has been told. */
export interface Sessions {
  /** Registers a stream; an older one of the same member is ended. Returns its removal: true if it was current. */
  open(session: Session): () => boolean;
  /** Sends every member of the job what it has not been told in its session. */
  update(record: JobRecord): void;
  /** The same for one member: it has just said Hello. */
  updateOne(record: JobRecord, member: string): void;
  /** To one member, if it is connected. */
  sendTo(uid: string, member: string, response: SessionResponse): void;
  /** To every connected member of the job. */
  broadcast(uid: string, response: SessionResponse): void;
}

export interface SessionsWorld {
  readonly contextOf: (record: JobRecord, member: string) => DirectiveContext;
}

interface Open {
  readonly session: Session;
  /** Keys of the directives that this session was sent. */
  readonly told: Set<string>;
}

export function createSessions(world: SessionsWorld): Sessions {
  const jobs = new Map<string, Map<string, Open>>();
  const tell = (record: JobRecord, open: Iterable<Open>): void => {
    const incarnations = incarnationsOf(record);
    const directivesFor = directivesOf(record.state);
    const responseOf = sharedResponses(record, world);
    for (const { session, told } of open) {
      const { member, incarnation } = session;
      if ((incarnations.get(member) ?? incarnation) !== incarnation) {
        // Released or given up, and another one has its place: it must not go on by itself.
        session.send({ generation: 0n, body: { $case: "stop", value: { why: "replaced" } } });
        session.end();
      } else {
        const untold = directivesFor(member).filter(({ key }) => !told.has(key));
        for (const directive of untold) {
          told.add(directive.key);
          session.send(responseOf(directive, member));
        }
      }
    }
  };
  return {
    open: (session) => {
      const { uid, member } = session;
      const ofJob = jobs.get(uid) ?? new Map<string, Open>();
      jobs.set(uid, ofJob);
      ofJob.get(member)?.session.end();
      const entry = { session, told: new Set<string>() };
      ofJob.set(member, entry);
      return () => {
        if (ofJob.get(member) !== entry) return false;
        ofJob.delete(member);
        if (ofJob.size === 0 && jobs.get(uid) === ofJob) jobs.delete(uid);
        return true;
      };
    },
    update: (record) => tell(record, jobs.get(record.uid)?.values() ?? []),
    updateOne: (record, member) => {
      const entry = jobs.get(record.uid)?.get(member);
      if (entry !== undefined) tell(record, [entry]);
    },
    sendTo: (uid, member, response) => jobs.get(uid)?.get(member)?.session.send(response),
    broadcast: (uid, response) => {
      for (const { session } of jobs.get(uid)?.values() ?? []) session.send(response);
    },
  };
}

function incarnationsOf({ state }: JobRecord): ReadonlyMap<string, number> {
  const members = liveOf(state)?.members ?? [];
  return new Map(members.map(({ name, incarnation }) => [name, incarnation]));
}

/**
 * What a directive is told with. Only Load differs between members; the others are made once and sent to all, so
 * that their encoding is shared as well (rpc/agent-definition.ts).
 */
function sharedResponses(
  record: JobRecord,
  world: SessionsWorld,
): (directive: Directive, member: string) => SessionResponse {
  const made = new Map<string, SessionResponse>();
  return (directive, member) => {
    const known = made.get(directive.key);
    if (known !== undefined) return known;
    const response = directiveToWire(directive, world.contextOf(record, member));
    if (directive.kind !== "load") made.set(directive.key, response);
    return response;
  };
}
