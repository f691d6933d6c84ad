import type { JobView } from "@shardwright/job/phase";
import type { Event } from "@shardwright/proto/gen/shardwright/v1/event";
import type { Generation, Member } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { eventLine } from "../event-line.ts";
import { EXIT, type ExitCode } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { ledgerTable, measuredPairs } from "../render/books.ts";
import { age, seconds } from "../render/duration.ts";
import { visible } from "../render/escape.ts";
import { progressLine } from "../render/progress.ts";
import { bytes } from "../render/quantity.ts";
import { table } from "../render/table.ts";
import { withJobs } from "../rpc/jobs.ts";
import { generationColumns, memberColumns } from "../rpc/member-object.ts";

// The last of them; all of them: `shardctl events`.
const EVENTS_SHOWN = 15;
const GENERATIONS_SHOWN = 10;

/** Everything about one job, for a person. */
export async function run(call: Invocation): Promise<ExitCode> {
  const name = jobName(call.args[0], "shardctl describe job NAME");
  const facts = await withJobs(call, async (jobs) => {
    const job = await jobs.get(name);
    const events: Event[] = [];
    for await (const event of jobs.events(name, { follow: false, after: 0n })) events.push(event);
    return {
      job,
      events,
      members: await jobs.members(name),
      generations: await jobs.generations(name),
    };
  });
  call.io.out(describeJob(facts, call.io.now()));
  return EXIT.done;
}

export interface JobFacts {
  readonly job: JobView;
  readonly events: readonly Event[];
  readonly members: readonly Member[];
  readonly generations: readonly Generation[];
}

/** Pure: the text of `describe`. */
export function describeJob(facts: JobFacts, nowMs: number): string {
  const { job, events, members, generations } = facts;
  const { status } = job;
  const plain = { wide: false, headers: true };
  return [
    pairs(headOf(job, nowMs)),
    section("Conditions", conditionsOf(job, nowMs)),
    section("Plan", status.plan === null ? "" : pairs(planOf(job))),
    section("Measured", pairs(measuredPairs(job))),
    section("Ledger", ledgerTable(job, nowMs)),
    section("Members", members.length === 0 ? "" : table(members, memberColumns(), plain)),
    section(
      "Generations",
      generations.length === 0
        ? ""
        : table(generations.slice(-GENERATIONS_SHOWN), generationColumns(nowMs), plain),
    ),
    section("Result", status.result === null ? "" : pairs(resultOf(job))),
    section("Events", eventsOf(events, nowMs)),
  ].join("");
}

type Pair = readonly [string, string];

function headOf(job: JobView, nowMs: number): readonly Pair[] {
  const { status, document } = job;
  const { spec } = document;
  const head: Pair[] = [
    ["Name", job.name],
    ["Namespace", job.tenant],
    ["Uid", job.uid],
    ["State", `${status.state}${status.reason.sentence ? `: ${status.reason.sentence}` : ""}`],
    ["Progress", progressLine(job, nowMs)],
    ["Model", spec.model.source],
    ["Data", spec.data.train.source],
    [
      "Method",
      spec.tuning.method === "full"
        ? "full"
        : `${spec.tuning.method} r ${spec.tuning.r} alpha ${spec.tuning.alpha}`,
    ],
    ["Queue", `${spec.queue}, priority ${spec.priority}`],
    ["Created", `${new Date(job.createdMs).toISOString()} (${age(nowMs - job.createdMs)} ago)`],
  ];
  if (job.finishedMs !== null) {
    head.push([
      "Finished",
      `${new Date(job.finishedMs).toISOString()} (took ${seconds((job.finishedMs - job.createdMs) / 1000)})`,
    ]);
  }
  const { count, stepsRedone, last } = status.recoveries;
  const how = last === null ? "" : `; last: ${last.cause}, ${seconds(last.seconds)}`;
  head.push(["Recoveries", `${count}, ${stepsRedone} steps redone${how}`]);
  if (status.checkpoint !== null) {
    const { step, commit, committedMs } = status.checkpoint;
    head.push(["Checkpoint", `step ${step}, ${age(nowMs - committedMs)} ago, ${commit}`]);
  }
  const budget = Object.entries(spec.faultBudget).map(([cause, tries]) => `${cause} ${tries}`);
  head.push(["Fault budget", budget.join(", ")]);
  return head;
}

function conditionsOf({ status }: JobView, nowMs: number): string {
  if (status.conditions.length === 0) return "";
  return table(
    status.conditions,
    [
      { title: "TYPE", cell: ({ type }) => type },
      { title: "STATUS", cell: (condition) => condition.status },
      {
        title: "SINCE",
        right: true,
        cell: ({ lastTransitionMs }) => age(nowMs - lastTransitionMs),
      },
      { title: "REASON", cell: ({ reason }) => reason.code },
      { title: "MESSAGE", cell: ({ reason }) => reason.sentence },
    ],
    { wide: false, headers: true },
  );
}

function planOf({ status: { plan }, document }: JobView): readonly Pair[] {
  if (plan === null) return [];
  return [
    ["Ranks", `${plan.ranks} (${plan.members} members of ${plan.ranksPerMember})`],
    ["ZeRO stage", `${plan.zeroStage}, ${plan.copies} copies of the state`],
    [
      "Exactness",
      document.spec.exactness === "fast"
        ? "fast: bits may differ when the world changes"
        : "exact: the same bits whoever is lost or joins",
    ],
    [
      "Lanes",
      `${plan.recipe.lanes} of ${plan.recipe.microBatchesPerLane} × ${plan.recipe.microBatchRows} rows`,
    ],
    ["Peak of a rank", `${bytes(plan.peakBytesPredicted)} predicted of ${bytes(plan.deviceBytes)}`],
    ["Saves", plan.saveEverySteps > 0 ? `every ${plan.saveEverySteps} steps` : "at the end"],
    ["Snapshots", plan.snapshotEverySteps > 0 ? `every ${plan.snapshotEverySteps} steps` : "none"],
  ];
}

function resultOf({ status: { result } }: JobView): readonly Pair[] {
  if (result === null) return [];
  return [
    ["weightsSha256", result.weightsSha256],
    ["stateSha256", result.stateSha256],
    ["consumedSha256", result.consumedSha256],
    ...result.artifacts.map(({ format, location }): Pair => [format, location]),
  ];
}

function eventsOf(events: readonly Event[], nowMs: number): string {
  const lines = events.slice(-EVENTS_SHOWN).map((event) => {
    const when = event.time === undefined ? "" : age(nowMs - event.time.getTime());
    return `${when.padStart(6)}  ${visible(eventLine(event))}\n`;
  });
  const earlier = events.length - lines.length;
  return (earlier > 0 ? `        ${earlier} earlier ones: shardctl events\n` : "") + lines.join("");
}

function pairs(of: readonly Pair[]): string {
  if (of.length === 0) return "";
  const width = Math.max(...of.map(([name]) => name.length)) + 1;
  return of
    .map(([name, value]) => `${`${name}:`.padEnd(width)}  ${visible(value) || "-"}\n`)
    .join("");
}

function section(title: string, body: string): string {
  if (body === "") return "";
  return `\n${title}:\n${body.replace(/^(?=.)/gm, "  ")}`;
}
