import {
  DOCUMENT_BYTES_MAX,
  Fault,
  type JobDocument,
  parseJobDocument,
  problemOfName,
} from "@shardwright/job";
import type { JobRecord, JobStore } from "../ports.ts";

/** The tenant of a request that names none. */
export const DEFAULT_TENANT = "default";

/** A tenant as requests name it; Fault `invalid` when it cannot be one. */
export function tenantOf(request: { readonly tenant: string }): string {
  if (request.tenant === "") return DEFAULT_TENANT;
  const problem = problemOfName(request.tenant);
  if (problem === null) return request.tenant;
  throw new Fault("invalid", "the request is wrong", { complaints: [{ path: "tenant", problem }] });
}

/** The job of that name, or Fault `not_found`; names of other tenants do not exist here. */
export async function jobNamed(
  jobs: Pick<JobStore, "find">,
  request: { readonly tenant: string },
  name: string,
): Promise<JobRecord> {
  const found = await jobs.find(tenantOf(request), name);
  if (found === null)
    throw new Fault("not_found", `there is no job ${JSON.stringify(name.slice(0, 64))}`);
  return found;
}

/** JSON text of a job document → the job it describes; Fault `invalid` with every complaint. */
export function readDocument(json: string): {
  readonly document: JobDocument;
  readonly warnings: readonly string[];
} {
  const bytes = Buffer.byteLength(json);
  if (bytes > DOCUMENT_BYTES_MAX) {
    const problem = `has ${bytes} bytes, at most ${DOCUMENT_BYTES_MAX} are allowed`;
    throw new Fault("invalid", "the job document is too large", {
      complaints: [{ path: "", problem }],
    });
  }
  const reading = parseJobDocument(asJson(json));
  if (reading.ok) return reading;
  throw new Fault("invalid", "the job document is wrong", { complaints: reading.complaints });
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const complaints = [{ path: "", problem: `is not JSON: ${(cause as Error).message}` }];
    throw new Fault("invalid", "the job document is wrong", { complaints, cause });
  }
}
