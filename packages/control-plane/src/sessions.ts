import type { SessionResponse } from "@shardwright/proto";
import { directivesFor } from "./core/directives.ts";
import type { JobRecord } from "./ports.ts";
import { type DirectiveContext, directiveToWire } from "./rpc/agent-wire.ts";

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
  /** To one member, if it is connected. */
  sendTo(uid: string, member: string, response: SessionResponse): void;
  /** To every connected member of the job. */
  broadcast(uid: string, response: SessionResponse): void;
}

export interface SessionsWorld {
  readonly contextOf: (record: JobRecord, member: string) => DirectiveContext;
}

export function createSessions(world: SessionsWorld): Sessions {
  const open = new Map<string, { session: Session; told: Set<string> }>();
  const idOf = (uid: string, member: string): string => `${uid}/${member}`;
  const ofJob = (uid: string): { session: Session; told: Set<string> }[] =>
    [...open.values()].filter(({ session }) => session.uid === uid);
  return {
    open: (session) => {
      const id = idOf(session.uid, session.member);
      open.get(id)?.session.end();
      const entry = { session, told: new Set<string>() };
      open.set(id, entry);
      return () => open.get(id) === entry && open.delete(id);
    },
    update: (record) => {
      for (const { session, told } of ofJob(record.uid)) {
        const live = "live" in record.state ? record.state.live : null;
        const member = live?.members.find(({ name }) => name === session.member);
        if (member !== undefined && member.incarnation !== session.incarnation) {
          session.end();
          continue;
        }
        const untold = directivesFor(record.state, session.member).filter(
          ({ key }) => !told.has(key),
        );
        // Nearly every step ends here: what a directive is told with is only made when there is one.
        if (untold.length === 0) continue;
        const context = world.contextOf(record, session.member);
        for (const directive of untold) {
          told.add(directive.key);
          session.send(directiveToWire(directive, context));
        }
      }
    },
    sendTo: (uid, member, response) => open.get(idOf(uid, member))?.session.send(response),
    broadcast: (uid, response) => {
      for (const { session } of ofJob(uid)) session.send(response);
    },
  };
}
