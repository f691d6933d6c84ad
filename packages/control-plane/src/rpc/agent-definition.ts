import { AgentServiceService, type SessionResponse } from "@shardwright/proto";

const { session } = AgentServiceService;

/**
 * AgentService as it is served: a response object that goes to many members is encoded once. A generation of a
 * thousand ranks is told with half a megabyte, the same for each of them.
 */
export function agentDefinition() {
  const encoded = new WeakMap<SessionResponse, Buffer>();
  const responseSerialize = (response: SessionResponse): Buffer => {
    const known = encoded.get(response);
    if (known !== undefined) return known;
    const bytes = session.responseSerialize(response);
    encoded.set(response, bytes);
    return bytes;
  };
  return { session: { ...session, responseSerialize } };
}
