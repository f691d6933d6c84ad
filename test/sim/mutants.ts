/** Every rule of the core that the simulation must miss when it is gone. */
import type { Mutant } from "./mutate.ts";

export const MUTANTS: readonly Mutant[] = [
  {
    name: "skip the incarnation fence",
    file: "lifecycle.ts",
    rule: `member === undefined || member.incarnation !== event.incarnation || member.state === "lost"`,
    instead: `member === undefined || member.state === "lost"`,
  },
  {
    name: "skip the generation fence on ready",
    file: "members.ts",
    rule: "if (prepared?.number !== event.generation || prepared.ready.includes(event.member)) return;",
    instead: "if (prepared === null || prepared.ready.includes(event.member)) return;",
  },
  {
    name: "skip the generation fence on failed",
    file: "members.ts",
    rule: "if (turn.live.prepared?.number !== event.generation) return;",
    instead: "",
  },
  {
    name: "skip the generation fence on interrupted",
    file: "members.ts",
    rule: "const isOurs = event.generation === committed?.number;",
    instead: "const isOurs = true;",
  },
  {
    name: "hear a repeated interrupted while a generation is prepared",
    file: "members.ts",
    rule: "if (adopting.has(said.pid)) continue;",
    instead: "",
  },
  {
    name: "do not increase the generation",
    file: "generation.ts",
    rule: "const number = live.lastGeneration + 1;",
    instead: "const number = Math.max(1, live.lastGeneration);",
  },
  {
    name: "commit before all are ready",
    file: "formation.ts",
    rule: "if ([...members].some((name) => !prepared.ready.includes(name))) {",
    instead: "if (![...members].some((name) => prepared.ready.includes(name))) {",
  },
  {
    name: "ignore evidence",
    file: "members.ts",
    rule: "const fault = evidenceFault(prepared, event.member, event.evidence);",
    instead: "const fault = null;",
  },
  {
    name: "take live source without coverage",
    file: "generation.ts",
    rule: `if (!transfer.possible) return { kind: "elsewhere", sentence: transfer.reason.sentence };`,
    instead: `if (!transfer.possible) return { kind: "live", blockMap, source: { kind: "live", targetVersion: choice.targetVersion, transfer: { sourceGeneration: 0, targetGeneration: number, moves: [], totalBytes: 0 } } };`,
  },
  {
    name: "treat pending as not passed",
    file: "resume.ts",
    rule: "holding.version + (holding.pending ? 1 : 0)",
    instead: "holding.version",
  },
  {
    name: "treat every holding as pending",
    file: "resume.ts",
    rule: "holding.version + (holding.pending ? 1 : 0)",
    instead: "holding.version + 1",
  },
  {
    name: "take holdings of any generation",
    file: "resume.ts",
    rule: "if (holding?.generation !== committed.number) continue;",
    instead: "if (holding == null) continue;",
  },
  {
    name: "drop the budget limit",
    file: "failure.ts",
    rule: "if (used <= budget[from])",
    instead: "if (used >= 0)",
  },
  {
    name: "charge a repeated exit",
    file: "members.ts",
    rule: "if (member === undefined || isKnown ||",
    instead: "if (member === undefined ||",
  },
  {
    name: "settle an effect of another id",
    file: "lifecycle.ts",
    rule: "const effect = turn.effects.find(({ id }) => id === effectId);\n  if (effect === undefined) return;\n  drop(turn, effectId);",
    instead:
      "const effect = turn.effects[0];\n  if (effect === undefined) return;\n  drop(turn, effect.id);",
  },
  {
    name: "apply a late answer about another save",
    file: "saves.ts",
    rule: `if (save?.begun?.key.saveId !== saveId || outcome.status === "waiting") return;`,
    instead: `if (save?.begun == null || outcome.status === "waiting") return;`,
    and: {
      file: "saves.ts",
      rule: `effect.kind !== "reportPrepared" || effect.key.saveId !== begun.key.saveId`,
      instead: "true",
    },
  },
  {
    name: "finish before the journal is complete",
    file: "lifecycle.ts",
    rule: "Math.min(step, lastCommit.step) >= facts.totalSteps",
    instead: "lastCommit.step >= facts.totalSteps",
    and: {
      file: "saves.ts",
      rule: "save.begun !== null || turn.live.step < save.step",
      instead: "save.begun !== null",
    },
  },
  {
    name: "begin a save ahead of the journal",
    file: "saves.ts",
    rule: "save.begun !== null || turn.live.step < save.step",
    instead: "save.begun !== null",
  },
  {
    name: "restore while holders are away for a moment",
    file: "formation.ts",
    rule: "if (needsState && waitsForHolders(turn)) return;",
    instead: "",
  },
  {
    name: "seat by slot only",
    file: "generation.ts",
    rule: "holds(b) - holds(a) || bySlot(a, b)",
    instead: "bySlot(a, b)",
  },
  {
    name: "do not hear of replaced ranks",
    file: "members.ts",
    rule: "for (const { pid } of replaced) {",
    instead: "for (const { pid } of replaced.slice(0, 0)) {",
  },
  {
    name: "form without those that run on",
    file: "formation.ts",
    rule: "if (now < live.retryAtMs || waitsForSomebody(turn) || ",
    instead: "if (now < live.retryAtMs || ",
  },
  {
    name: "wait for a silent member for ever",
    file: "formation.ts",
    rule: "const silence = judgeSilence(member, true, turn.now, turn.policy);\n  if (silence.verdict",
    instead:
      "const silence = judgeSilence(member, false, turn.now, turn.policy);\n  if (silence.verdict",
  },
  {
    name: "count the silence before a restart",
    file: "members.ts",
    rule: "{ ...member, silentSinceMs: now },",
    instead: "{ ...member, silentSinceMs: member.silentSinceMs ?? now },",
  },
  {
    name: "send persist to members that have not staged",
    file: "directives.ts",
    rule: "save?.begun != null && save.staged.includes(member.name)",
    instead: "save?.begun != null",
  },
  {
    name: "write the last save again although its abort came too late",
    file: "saves.ts",
    rule: "} else takeCommit(turn, key.step, commit);",
    instead: "}",
  },
  {
    name: "go on while the abort of the last save is not answered",
    file: "formation.ts",
    rule: " || waitsForFinalAbort(turn)) return;",
    instead: ") return;",
  },
  {
    name: "release nobody when the job fails",
    file: "ending.ts",
    rule: `live === null ? [] : [{ id: "release", kind: "release", why: phase }]`,
    instead: "[]",
  },
  {
    name: "keep the ledger open after the release",
    file: "ending.ts",
    rule: `effect.kind === "release" ? bookSeconds(state.ledger, "idle", 0, now) : state.ledger;`,
    instead: "state.ledger;",
  },
];
