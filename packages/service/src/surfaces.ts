import { status } from "@grpc/grpc-js";
import type { FaultKind } from "@shardwright/job/faults";

/** How one kind of fault looks at each of our doors. `retryable`: the same request may succeed later. */
export interface Surface {
  readonly grpc: status;
  readonly http: number;
  /** `error.type` of OpenAI-compatible bodies. */
  readonly openai: "invalid_request_error" | "server_error";
  readonly retryable: boolean;
}

/** The one table from fault kinds to surfaces; a new kind does not compile until every surface answers. */
export const SURFACES = {
  invalid: surface(status.INVALID_ARGUMENT, 400, false),
  unauthenticated: surface(status.UNAUTHENTICATED, 401, false),
  forbidden: surface(status.PERMISSION_DENIED, 403, false),
  not_found: surface(status.NOT_FOUND, 404, false),
  // 400 and not 409: HTTP clients of the OpenAI family retry 409 by themselves.
  conflict: surface(status.FAILED_PRECONDITION, 400, false),
  exhausted: surface(status.RESOURCE_EXHAUSTED, 429, true),
  unavailable: surface(status.UNAVAILABLE, 503, true),
  internal: surface(status.INTERNAL, 500, false),
} as const satisfies Record<FaultKind, Surface>;

/** The kind a caller should see for a gRPC status that came without our trailer. */
export function kindOfStatus(code: status): FaultKind {
  const found = Object.entries(SURFACES).find(([, entry]) => entry.grpc === code);
  if (found !== undefined) return found[0] as FaultKind;
  if (code === status.DEADLINE_EXCEEDED || code === status.CANCELLED) return "unavailable";
  return "internal";
}

function surface(grpc: status, http: number, retryable: boolean): Surface {
  return { grpc, http, retryable, openai: http >= 500 ? "server_error" : "invalid_request_error" };
}
