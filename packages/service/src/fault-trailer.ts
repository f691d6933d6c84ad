import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { type Complaint, FAULT_KINDS, Fault, type FaultKind } from "@shardwright/job/faults";
import { kindOfStatus, SURFACES } from "./surfaces.ts";

/** Trailer key of a fault: JSON bytes `{"kind", "complaints": [{"path", "problem"}]}`. */
export const FAULT_TRAILER = "shardwright-fault-bin";

// HTTP/2 peers refuse header lists above 16 KiB; base64 makes 8 KiB of JSON 11 KiB.
const TRAILER_BYTES_MAX = 8 * 1024;
// The status message travels percent-encoded (up to three bytes per byte) in the same header list.
const MESSAGE_CHARS_MAX = 1000;

/** A status as grpc-js wants it from a handler. */
export type WireStatus = Partial<StatusObject> & {
  readonly code: status;
  readonly details: string;
  /** Never sent: for the log, which wants the causes too. */
  readonly fault: Fault;
};

/** Any failure as a gRPC status with its complaints in the trailer. The only way out of a handler. */
export function asStatus(reason: unknown): WireStatus {
  const fault = Fault.from(reason);
  const metadata = new Metadata();
  metadata.set(FAULT_TRAILER, encode(fault.kind, fault.complaints));
  return { code: SURFACES[fault.kind].grpc, details: shorten(fault.message), metadata, fault };
}

/** The fault a caller sees; works for statuses of our servers and of the transport itself. */
export function faultOf(
  error: { readonly code: status; readonly details: string; readonly metadata?: Metadata },
  address: string,
): Fault {
  const sent = error.metadata?.get(FAULT_TRAILER)[0];
  const decoded = sent instanceof Buffer ? decode(sent) : undefined;
  if (decoded !== undefined) {
    return new Fault(decoded.kind, error.details, { complaints: decoded.complaints, cause: error });
  }
  return new Fault(kindOfStatus(error.code), transportSentence(error, address), { cause: error });
}

function transportSentence(
  error: { readonly code: status; readonly details: string },
  address: string,
): string {
  if (error.code === status.UNAVAILABLE) return `cannot reach ${address}: ${error.details}`;
  if (error.code === status.DEADLINE_EXCEEDED) return `no answer from ${address} in time`;
  return error.details;
}

/** Drops complaints from the end until the rest fits, and says how many are missing. */
function encode(kind: FaultKind, complaints: readonly Complaint[]): Buffer {
  for (let kept = complaints.length; ; kept = Math.floor(kept / 2)) {
    const missing = complaints.length - kept;
    const more = { path: "", problem: `and ${missing} more` };
    const list = missing === 0 ? complaints : [...complaints.slice(0, kept), more];
    const bytes = Buffer.from(JSON.stringify({ kind, complaints: list }));
    if (bytes.length <= TRAILER_BYTES_MAX || kept === 0) return bytes;
  }
}

function decode(bytes: Buffer): { kind: FaultKind; complaints: Complaint[] } | undefined {
  try {
    const value = JSON.parse(bytes.toString("utf8")) as { kind?: unknown; complaints?: unknown };
    const kind = FAULT_KINDS.find((known) => known === value.kind);
    if (kind === undefined || !Array.isArray(value.complaints)) return undefined;
    return { kind, complaints: value.complaints.filter(isComplaint) };
  } catch {
    return undefined; // not ours: the status code alone has to do
  }
}

function isComplaint(value: unknown): value is Complaint {
  const candidate = value as Partial<Complaint> | null;
  return typeof candidate?.path === "string" && typeof candidate.problem === "string";
}

function shorten(message: string): string {
  return message.length <= MESSAGE_CHARS_MAX
    ? message
    : `${message.slice(0, MESSAGE_CHARS_MAX - 1)}…`;
}
