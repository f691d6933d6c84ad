import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { connect as openSocket } from "node:net";
import { join, relative } from "node:path";
import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  JobServiceClient,
  type SubmitJobRequest,
} from "@shardwright/proto/gen/shardwright/v1/job_service";

/** What shardctl finds in a data directory. */
export interface Server {
  readonly address: string;
  readonly token: string;
}

export function serverOf(dataDir: string): Server {
  const { address, tokenFile } = JSON.parse(readFileSync(join(dataDir, "server.json"), "utf8")) as {
    address: string;
    tokenFile: string;
  };
  return { address, token: readFileSync(tokenFile, "utf8").trim() };
}

/** Writes bytes that are no gRPC to the port; done when the server hung up, or after a second. */
export function throwAt(address: string, bytes: Buffer): Promise<void> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = openSocket(Number(port), host);
    const done = (): void => {
      socket.destroy();
      resolve();
    };
    socket.on("error", done).on("close", done);
    socket.setTimeout(1_000, done);
    socket.write(bytes);
  });
}

/** What the server answers; OK for an answer that is none of a fault. */
export interface Answer {
  readonly code: status;
  readonly details: string;
}

/** One call that no shardctl would make. `metadata` is added to, or stands instead of, the bearer token. */
export function callRaw(
  { address, token }: Server,
  call: {
    readonly request?: Partial<SubmitJobRequest>;
    readonly metadata?: Readonly<Record<string, string>>;
  },
): Promise<Answer> {
  // Larger than what the server takes: its limit must be what refuses, not ours.
  const client = new JobServiceClient(address, credentials.createInsecure(), {
    "grpc.max_send_message_length": -1,
  });
  const metadata = new Metadata();
  const sent = { authorization: `Bearer ${token}`, ...call.metadata };
  for (const [key, value] of Object.entries(sent)) if (value !== "") metadata.set(key, value);
  const request = {
    requestId: "",
    tenant: "",
    documentJson: "",
    dryRun: true,
    ...call.request,
  } as SubmitJobRequest;
  return new Promise((resolve) => {
    client.submitJob(
      request,
      metadata,
      { deadline: Date.now() + 10_000 },
      (error: ServiceError | null) => {
        client.close();
        resolve({ code: error?.code ?? status.OK, details: error?.details ?? "" });
      },
    );
  });
}

/** Runs a command whose reader goes away at once; its exit code. */
export function withClosedStdout(command: string, args: readonly string[]): Promise<number | null> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], { stdio: ["ignore", "pipe", "ignore"] });
    child.stdout.destroy();
    child.on("close", resolve);
  });
}

/** Paths of everything below a folder, sorted. */
export function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

/** Resident memory of a process, in MiB, as Linux counts it. */
export function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

/** Pid and command line of everything that a process started, and of what those started. */
export function descendantsOf(pid: number): readonly string[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parentOf(Number(name));
    if (parent !== null) parents.set(Number(name), parent);
  }
  const found = new Set([pid]);
  for (let before = 0; before !== found.size; ) {
    before = found.size;
    for (const [child, parent] of parents) if (found.has(parent)) found.add(child);
  }
  found.delete(pid);
  return [...found].map((one) => `${one} ${commandOf(one)}`);
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 300);
  } catch {
    return "(gone)";
  }
}

/** Null for a process that is gone, or ended and not yet waited for. */
function parentOf(pid: number): number | null {
  try {
    if (!statSync(`/proc/${pid}`).isDirectory()) return null;
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return fields[0] === "Z" ? null : Number(fields[1]);
  } catch {
    return null;
  }
}
