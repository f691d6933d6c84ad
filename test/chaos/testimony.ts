/** What somebody needs who was not there: how it went in a line, and everything about a failure. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Arena } from "./arena.ts";
import type { Schedule } from "./schedule.ts";
import { processesOf } from "./victims.ts";

/** What was survived and how fast. */
export function summaryOf(arena: Arena, name: string, schedule: Schedule, done: number): string {
  const { seed, method, members, ranksPerMember, deeds } = schedule;
  const events = arena.tap.eventsOf(name);
  const recoveries = events.flatMap(({ code, sentence }) =>
    code === "Recovered" ? [/done ([\d.]+) s/.exec(sentence)?.[1] ?? "?"] : [],
  );
  const generations = events.filter(({ code }) => code === "GenerationCommitted").length;
  const seconds = recoveries.length === 0 ? "none" : `${recoveries.join(", ")} s`;
  return `seed ${seed}: ${method}, ${members}x${ranksPerMember} ranks, ${done} of ${deeds.length} deeds, ${generations} generations; recoveries: ${seconds}`;
}

/** How to repeat it, the schedule, the events as a table, the logs; the data directory is kept beside it. */
export function testimonyOf(arena: Arena, name: string, schedule: Schedule): string {
  const { dataDir } = arena.embedded;
  const uid = arena.tap.job(name)?.uid ?? "";
  const events = arena.tap
    .eventsOf(name)
    .map(
      (one) =>
        `${new Date(one.timeMs).toISOString().slice(11, 23)}  g${one.generation}  step ${one.step}  ${one.code.padEnd(20)}  ${one.sentence}`,
    );
  const logs = join(dataDir, "runs", uid, "logs");
  const members = existsSync(logs)
    ? readdirSync(logs).map((file) => `-- ${file}\n${lastLines(join(logs, file), 30)}`)
    : [];
  return [
    `seed ${schedule.seed} failed; again:`,
    `  SHARDWRIGHT_CHAOS_SEEDS=${schedule.seed} npx vitest run --config test/e2e/vitest.config.ts test/chaos/chaos.test.ts`,
    JSON.stringify(schedule, undefined, 1),
    `job: ${JSON.stringify(arena.tap.job(name))}`,
    `processes: ${JSON.stringify(processesOf(uid))}`,
    `data directory: ${dataDir}`,
    ...events,
    ...members,
    "-- up.log",
    lastLines(join(dataDir, "up.log"), 200),
  ].join("\n");
}

function lastLines(path: string, count: number): string {
  if (!existsSync(path)) return "(none)";
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-count).join("\n");
}
