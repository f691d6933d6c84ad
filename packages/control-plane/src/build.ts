import { createHmac } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { specToJson } from "@shardwright/job";
import { JobServiceService, type SessionRequest, type SessionResponse } from "@shardwright/proto";
import {
  bearerAuth,
  type Clock,
  createHealth,
  duplex,
  type Health,
  type Log,
  type Meter,
  type Part,
  type RpcServer,
  rpcMeter,
  startRpcServer,
  systemClock,
} from "@shardwright/service";
import { connectCheckpoints } from "./checkpoints.ts";
import { HANG_MS_DEFAULT } from "./core/liveness.ts";
import { POLICY_DEFAULT } from "./core/policy.ts";
import { putJob } from "./desired/local.ts";
import { createDriver, type Driver } from "./driver.ts";
import { createLocalLauncher } from "./launch/local.ts";
import { asLocalMachine, measureMachine } from "./launch/machine.ts";
import { createMeasures, type Measures } from "./measures.ts";
import { createMemberLogs } from "./member-logs.ts";
import { readMemberToken } from "./member-token.ts";
import { planFor } from "./plan-facts.ts";
import type { JobRecord, Launcher } from "./ports.ts";
import { agentDefinition } from "./rpc/agent-definition.ts";
import { agentSession } from "./rpc/agent-service.ts";
import { jobService } from "./rpc/job-service.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { createStepRows } from "./step-rows.ts";
import type { Journal } from "./store/journal.ts";
import { openPostgresJournal } from "./store/postgres.ts";
import { openSqliteJournal } from "./store/sqlite.ts";

export interface ControlPlaneConfig {
  /** `host:port`; port 0 takes the one of the last time in this data directory, else a free one. */
  readonly listen: string;
  readonly dataDirectory: string;
  /** The owner's token: people and our other services. */
  readonly token: string;
  readonly checkpointAddress: string;
  readonly python: string;
  /** Folder that holds shardwright_trainer; "" when it is installed. */
  readonly pythonPath: string;
  readonly version: string;
  readonly log: Log;
  readonly meter: Meter;
  /** postgres:// URL; absent = SQLite in the data directory. */
  readonly storeUrl?: string;
  /** Ranks that may run at once on this machine. */
  readonly ranksMax?: number;
  /** A rank that its agent has not heard for so long hangs [ms]; absent = 30 s. */
  readonly hangMs?: number;
  /** From SIGTERM to a member's end when nobody takes over [ms]; null or absent = the agent's own default. */
  readonly leaveGraceMs?: number | null;
  readonly clock?: Clock;
  /** Who starts members; absent = they are processes of this machine. */
  readonly launcher?: Launcher;
}

export interface ControlPlane {
  readonly address: string;
  readonly parts: readonly Part[];
  readonly health: Health;
}

// Ranks share cores: more of them than cores are slower, never wrong. Five let a laptop rehearse a cluster.
const RANKS_MAX_MIN = 5;

/** The control plane of one machine: journal, launcher, driver, door. Ready when this resolves. */
export async function buildControlPlane(config: ControlPlaneConfig): Promise<ControlPlane> {
  const clock = config.clock ?? systemClock;
  const { dataDirectory, log } = config;
  // 1. What lasts: the journal, and the members that an earlier process started.
  const journal = await openJournal(config, clock);
  let server: RpcServer | null = null;
  const launcher = config.launcher ?? launcherOf(config, clock, () => server?.address ?? "");
  const checkpoints = connectCheckpoints(config.checkpointAddress, config.token);
  // 2. Who decides.
  const memberSecret = createHmac("sha256", config.token).update("members").digest("base64url");
  const sessions = sessionsOf(launcher);
  const measures = createMeasures(config.meter);
  const driver = createDriver({
    store: journal,
    launcher,
    sessions,
    clock,
    policy: POLICY_DEFAULT,
    measures,
    wasStopped: takeMark(join(dataDirectory, STOPPED_MARK)),
    log,
    performing: {
      launcher,
      checkpoints,
      history: journal,
      memberSecret,
      exportsDirectory: join(dataDirectory, "exports"),
      restartRank: ({ uid }, { member, localRank, reason }) =>
        sessions.sendTo(uid, member, {
          generation: 0n,
          body: { $case: "restartRank", value: { localRank, reason } },
        }),
      sleep: (ms) => clock.sleep(ms),
      log,
    },
  });
  // 3. The door: people and services by the owner's token, members by their own.
  const drain = new AbortController();
  server = await startDoor(config, {
    driver,
    journal,
    launcher,
    sessions,
    memberSecret,
    clock,
    drain,
    measures,
  });
  rememberPort(dataDirectory, server.address);
  // 4. Go on where the journal stands.
  await driver.start();
  const health = createHealth();
  health.ready();
  const parts: Part[] = [
    { name: "journal", close: () => journal.close() },
    { name: "checkpoints-client", close: async () => checkpoints.close() },
    { name: "launcher", close: () => launcher.close() },
    server,
    // Before the door: members are told to stop through it.
    {
      name: "driver",
      close: async () => {
        await driver.stop();
        writeFileSync(join(dataDirectory, STOPPED_MARK), "");
      },
    },
  ];
  return { address: server.address, parts, health };
}

async function openJournal(config: ControlPlaneConfig, clock: Clock): Promise<Journal> {
  const { storeUrl, dataDirectory, meter } = config;
  const observe = (seconds: number): void =>
    meter.observe("shardwright_journal_append_duration_seconds", {}, seconds);
  const { now } = clock;
  if (storeUrl !== undefined) return await openPostgresJournal({ url: storeUrl, now, observe });
  const path = join(dataDirectory, "control-plane.sqlite");
  return await openSqliteJournal({ path, now, observe });
}

function launcherOf(config: ControlPlaneConfig, clock: Clock, address: () => string): Launcher {
  const facts = measureMachine();
  const { python, pythonPath, dataDirectory } = config;
  return createLocalLauncher({
    dataDirectory,
    agentCommand: agentCommand(python, config.leaveGraceMs ?? null),
    storeCommand: [python, "-m", "shardwright_trainer.agent.store"],
    environment: memberEnvironment(pythonPath),
    controlPlaneAddress: address,
    machine: asLocalMachine(facts, {
      ranksMax: config.ranksMax ?? Math.max(facts.cores, RANKS_MAX_MIN),
      memoryBytesMax: null,
    }),
    clock,
  });
}

/** What members inherit: enough to find programs, caches and certificates, no secrets of ours. */
function memberEnvironment(pythonPath: string): Record<string, string> {
  const names = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH"];
  const kept = names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const fixed = { HF_HUB_OFFLINE: "1", TOKENIZERS_PARALLELISM: "false", PYTHONUNBUFFERED: "1" };
  return {
    ...Object.fromEntries(kept),
    ...fixed,
    ...(pythonPath === "" ? {} : { PYTHONPATH: pythonPath }),
  };
}

function sessionsOf(launcher: Launcher): Sessions {
  return createSessions({
    contextOf: (record: JobRecord, member: string) => ({
      record,
      specJson: specToJson(record.state.spec),
      member,
      workDirectory: launcher.workDirectory(record.uid),
    }),
  });
}

function agentCommand(python: string, leaveGraceMs: number | null): [string, ...string[]] {
  const command: [string, ...string[]] = [python, "-m", "shardwright_trainer.agent.main"];
  if (leaveGraceMs !== null) command.push("--leave-grace-seconds", String(leaveGraceMs / 1000));
  return command;
}

interface Door {
  readonly driver: Driver;
  readonly journal: Journal;
  readonly launcher: Launcher;
  readonly sessions: Sessions;
  readonly memberSecret: string;
  readonly clock: Clock;
  readonly drain: AbortController;
  readonly measures: Measures;
}

async function startDoor(config: ControlPlaneConfig, door: Door): Promise<RpcServer> {
  const { driver, journal, launcher, sessions, memberSecret, clock, drain, measures } = door;
  const { log } = config;
  const logsDirectory = (uid: string): string => join(config.dataDirectory, "runs", uid, "logs");
  const agents = {
    memberSecret,
    sessions,
    logs: createMemberLogs(logsDirectory),
    steps: createStepRows({
      history: journal,
      now: clock.now,
      recorded: (uid, { step, facts, stepSeconds, laneTimes, tell }) => {
        const value = { step: BigInt(step) };
        const told: SessionResponse = { generation: 0n, body: { $case: "ackSteps", value } };
        if (tell === "everybody") sessions.broadcast(uid, told);
        else for (const member of tell) sessions.sendTo(uid, member, told);
        if (tell.length === 0) return;
        void driver
          .deliver(uid, { kind: "stepped", step, facts, laneTimes })
          .then(() => driver.recordOf(uid))
          // Of a job that was deleted meanwhile no series may come back.
          .then((record) => record !== null && measures.stepped(record, stepSeconds))
          .catch((reason: unknown) =>
            log.error({ err: reason, uid }, "a step could not be booked"),
          );
      },
      failed: (uid, reason) => log.error({ err: reason, uid }, "recording steps has failed"),
    }),
    recordOf: driver.recordOf,
    hangMs: config.hangMs ?? HANG_MS_DEFAULT,
    deliver: driver.deliver,
    log,
  };
  const jobs = jobService({
    jobs: journal,
    history: journal,
    changes: journal,
    control: driver,
    clock,
    drain: drain.signal,
    plan: (tenant, document) =>
      planFor(document, { tenant, jobs: journal, cluster: launcher.snapshot() }),
    putJob: (job) => putJob(journal, job, clock.now()),
    logsDirectory,
  });
  const options = {
    services: [
      {
        definition: JobServiceService,
        implementation: jobs,
        authenticate: bearerAuth(config.token),
      },
      {
        definition: agentDefinition(),
        implementation: {
          session: duplex(drain.signal, (requests: AsyncIterable<SessionRequest>, caller) =>
            agentSession(agents, requests, caller),
          ),
        },
        authenticate: (token: string | undefined) => void readMemberToken(memberSecret, token),
      },
    ],
    drain,
    watcher: rpcMeter(config.meter),
    onInternal: (path: string, fault: Error) =>
      log.error({ path, err: fault }, "a call has failed inside"),
  };
  const last = portOfLastTime(config.dataDirectory);
  if (last !== null && config.listen.endsWith(":0")) {
    // Members that run know this port; only when somebody else took it they are out of luck.
    const listen = config.listen.replace(/:0$/, `:${last}`);
    const again = await startRpcServer({ ...options, listen }).catch(() => null);
    if (again !== null) return again;
  }
  return await startRpcServer({ ...options, listen: config.listen });
}

/** There when the last process stopped its members before it ended. */
const STOPPED_MARK = "stopped-cleanly";

function takeMark(path: string): boolean {
  const isThere = existsSync(path);
  rmSync(path, { force: true });
  return isThere;
}

const PORT_FILE = "control-plane.port";

function portOfLastTime(dataDirectory: string): number | null {
  const path = join(dataDirectory, PORT_FILE);
  const port = existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : null;
}

function rememberPort(dataDirectory: string, address: string): void {
  writeFileSync(join(dataDirectory, PORT_FILE), address.slice(address.lastIndexOf(":") + 1));
}
