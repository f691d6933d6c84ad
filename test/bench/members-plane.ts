// The control plane of members.ts: the real one (journal in SQLite, tokens, driver, door), whose members are run by
// somebody else. It says on standard output where it listens; whom it would start stands in `<data>/launched.jsonl`.
// node members-plane.ts DATA_DIRECTORY TOKEN_FILE SLOTS
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "@shardwright/service/log";
import { createMeter } from "@shardwright/service/meter";
import { runService } from "@shardwright/service/run-service";
import { buildControlPlane } from "../../packages/control-plane/src/build.ts";
import type {
  Launcher,
  MemberLaunch,
  RunningMember,
} from "../../packages/control-plane/src/ports.ts";
import { localSnapshot } from "../../packages/scheduler/src/index.ts";

const [dataDirectory = "", tokenFile = "", slots = "1"] = process.argv.slice(2);
// What a member of the bench's model needs, and some: the machine is as large as the bench asks.
const BYTES_PER_SLOT = 8 * 1024 ** 3;

/** Members are asked for by a line in a file; they never end by themselves. */
function elsewhere(path: string): Launcher {
  const running = new Map<string, RunningMember>();
  const keep = ({ uid, member, incarnation }: MemberLaunch): number => {
    const pid = running.size + 1;
    running.set(`${uid}/${member}/${incarnation}`, { uid, member, incarnation, pid });
    return pid;
  };
  if (existsSync(path)) {
    for (const line of readFileSync(path, "utf8").split("\n")) {
      if (line !== "") keep(JSON.parse(line) as MemberLaunch);
    }
  }
  return {
    launchMember: async (launch) => {
      const { uid, member, incarnation } = launch;
      const known = running.get(`${uid}/${member}/${incarnation}`);
      if (known !== undefined) return known.pid;
      appendFileSync(path, `${JSON.stringify(launch)}\n`);
      return keep(launch);
    },
    stopMember: async (uid, member, incarnation) => {
      running.delete(`${uid}/${member}/${incarnation}`);
    },
    release: async () => undefined,
    running: async () => [...running.values()],
    onEnd: () => undefined,
    snapshot: () =>
      localSnapshot({
        name: "bench",
        slots: Number(slots),
        memoryBytes: Number(slots) * BYTES_PER_SLOT,
      }),
    ensureStore: async () => ({ host: "127.0.0.1", port: 1 }),
    stopStore: async () => undefined,
    workDirectory: (uid) => join(dataDirectory, "runs", uid, "work"),
    close: async () => undefined,
  };
}

const log = createLog({ service: "bench-plane", version: "0", level: "warn" });
const { address, parts, health } = await buildControlPlane({
  listen: "127.0.0.1:0",
  dataDirectory,
  token: readFileSync(tokenFile, "utf8").trim(),
  checkpointAddress: "127.0.0.1:1",
  python: "",
  pythonPath: "",
  version: "0",
  log,
  meter: createMeter({ process: true }),
  launcher: elsewhere(join(dataDirectory, "launched.jsonl")),
});
process.stdout.write(`${address}\n`);
await runService({ parts, health, log, endpointPauseMs: 0, drainTimeoutMs: 10_000 });
process.exit(0);
