import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitKey } from "./commit-key.ts";
import { type Candidate, chooseHead } from "./head.ts";
import { chooseVictims, KEEP_LAST_MIN } from "./retention.ts";

/** A register in one of the states that a run may hold. */
const candidate = fc
  .record({
    step: fc.integer({ min: 0, max: 30 }),
    generation: fc.integer({ min: 1, max: 4 }),
    try: fc.integer({ min: 0, max: 2 }),
    state: fc.constantFrom("committed", "committed", "committed", "aborted", "corrupt"),
    retired: fc.boolean(),
    quarantined: fc.constantFrom(null, null, "two failed restores"),
  })
  .map(({ state, retired, quarantined, ...save }): Candidate => {
    const key = commitKey(save);
    const register: Candidate["register"] =
      state === "corrupt"
        ? { ok: false, problem: { code: "SWC_BAD_RECORD", sentence: "torn" } }
        : { ok: true, value: { status: state, ...save, reason: "deadline" } as never };
    return { key, register, retired, quarantined };
  });
const run = fc.uniqueArray(candidate, { selector: (one) => one.key, maxLength: 25 });
const none = { parentsOfUndecided: new Set<string>(), pinned: new Set<string>() };

const isValid = ({ register, retired, quarantined }: Candidate): boolean =>
  register.ok && register.value.status === "committed" && !retired && quarantined === null;

describe("the head", () => {
  it("is valid, and no valid commit is newer by (generation, step, try)", () => {
    fc.assert(
      fc.property(run, (candidates) => {
        const { head, passedOver } = chooseHead(candidates);
        const valid = candidates.filter(isValid);
        expect(head === null).toBe(valid.length === 0);
        if (head === null) return;
        const rank = (save: { generation: number; step: number; try: number }): number =>
          (save.generation * 1000 + save.step) * 1000 + save.try;
        const best = Math.max(
          ...valid.map(({ register }) => (register.ok ? rank(register.value) : 0)),
        );
        expect(rank(head)).toBe(best);
        expect(passedOver.map((one) => one.key)).not.toContain(commitKey(head));
      }),
    );
  });
});

describe("retention", () => {
  it("never takes the head, a hold, or what is not a live commit, and always leaves enough", () => {
    fc.assert(
      fc.property(run, fc.integer({ min: 0, max: 6 }), fc.nat(), (candidates, keepLast, draw) => {
        const held = candidates
          .filter((_, index) => (draw >> (index % 30)) & 1)
          .map((one) => one.key);
        const holds = {
          parentsOfUndecided: new Set(held.slice(0, 2)),
          pinned: new Set(held.slice(2)),
        };
        const victims = chooseVictims(candidates, { keepLast }, holds);
        const { head } = chooseHead(candidates);
        const live = candidates.filter(isValid).map((one) => one.key);
        for (const victim of victims) {
          expect(live).toContain(victim);
          expect(held).not.toContain(victim);
          expect(head !== null && commitKey(head)).not.toBe(victim);
        }
        expect(live.length - victims.length).toBeGreaterThanOrEqual(
          Math.min(live.length, Math.max(keepLast, KEEP_LAST_MIN)),
        );
        // Retiring is done once: what is left has no further victims.
        const after = candidates.map((one) => ({
          ...one,
          retired: one.retired || victims.includes(one.key),
        }));
        expect(chooseVictims(after, { keepLast }, holds)).toEqual([]);
      }),
    );
  });

  it("keeps the newest and says the oldest first", () => {
    const commits = [1, 2, 3, 4, 5].map((step): Candidate => {
      const save = { step, generation: 1, try: 0 };
      const register = { ok: true, value: { status: "committed", ...save } as never } as const;
      return { key: commitKey(save), register, retired: false, quarantined: null };
    });
    const victims = chooseVictims(commits, { keepLast: 3 }, none);
    expect(victims).toEqual([1, 2].map((step) => commitKey({ step, generation: 1, try: 0 })));
  });
});
