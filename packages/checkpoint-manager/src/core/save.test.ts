import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideSave, openSave, type Prepared, type SaveEvent, type SaveState } from "./save.ts";

const SAVE = { step: 10, generation: 2, try: 0 };
const ID = "6e0f7c1a-2b3c-4d5e-8f90-a1b2c3d4e5f6";
const WRITERS = [0, 1, 2];

const prepared = (writer: number, incarnation: number): Prepared => ({
  writer,
  incarnation,
  manifestPath: `w${writer}.${incarnation}`,
  manifestSha256: "",
  bytes: 1,
});
const REASON = { code: "x", sentence: "y" };

/** Anything that may reach a save, in any order, also from other saves. */
const event: fc.Arbitrary<SaveEvent> = fc.oneof(
  fc.record({
    kind: fc.constant("prepared" as const),
    save: fc.constantFrom(SAVE, SAVE, SAVE, { ...SAVE, generation: 1 }, { ...SAVE, try: 1 }),
    saveId: fc.constantFrom(ID, ID, ID, "other"),
    prepared: fc
      .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 2 }))
      .map(([w, i]) => prepared(w, i)),
  }),
  fc.constant<SaveEvent>({ kind: "abort", save: SAVE, saveId: ID, reason: REASON }),
  fc.constant<SaveEvent>({ kind: "abort", save: SAVE, saveId: "other", reason: REASON }),
);

/** A save and what was seen of it so far. */
interface Seen {
  state: SaveState;
  readonly newest: Map<number, number>;
  decisions: number;
}

/** One event of this save, and the world's answer to what it leads to. */
function take(seen: Seen, next: SaveEvent, whole: boolean): void {
  const before = seen.state;
  const { state, effect, refused } = decideSave(before, next);
  seen.state = state;
  if (before.phase === "decided") expect([state, effect]).toEqual([before, null]);
  if (next.kind === "prepared" && before.phase === "open" && refused === null) {
    seen.newest.set(next.prepared.writer, next.prepared.incarnation);
  }
  if (effect === null) return;
  if (effect.kind === "prove") {
    const expected = WRITERS.map((writer) => [writer, seen.newest.get(writer)]);
    expect(effect.prepared.map((one) => [one.writer, one.incarnation])).toEqual(expected);
    if (!whole) seen.state = decideSave(seen.state, { kind: "refuted", reason: REASON }).state;
  }
  const committed = effect.kind === "prove" && whole;
  const outcome = committed
    ? ({ status: "committed", bytes: 3 } as const)
    : ({ status: "aborted", reason: REASON } as const);
  seen.state = decideSave(seen.state, { kind: "decided", outcome }).state;
  seen.decisions++;
}

/** One event of another save: nothing may change. */
function ignore(seen: Seen, next: SaveEvent): void {
  const { state, effect, refused } = decideSave(seen.state, next);
  expect([state, effect, refused?.code]).toEqual([seen.state, null, "SWC_FENCED"]);
}

describe("the life of a save", () => {
  it("proves once every writer has prepared, with the newest incarnations, and is decided once", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), fc.boolean(), (events, whole) => {
        const seen: Seen = { state: openSave(SAVE, ID, WRITERS), newest: new Map(), decisions: 0 };
        for (const next of events) {
          const isOurs = "saveId" in next && next.saveId === ID && next.save === SAVE;
          if (isOurs) take(seen, next, whole);
          else ignore(seen, next);
        }
        expect(seen.decisions).toBeLessThanOrEqual(1);
        expect(seen.state.phase === "decided").toBe(seen.decisions === 1);
      }),
      { numRuns: 500 },
    );
  });

  it("takes no other incarnation once it is being proven", () => {
    let state: SaveState = openSave(SAVE, ID, WRITERS);
    for (const writer of WRITERS) {
      state = decideSave(state, {
        kind: "prepared",
        save: SAVE,
        saveId: ID,
        prepared: prepared(writer, 0),
      }).state;
    }
    const late = decideSave(state, {
      kind: "prepared",
      save: SAVE,
      saveId: ID,
      prepared: prepared(1, 1),
    });
    expect(late.effect).toMatchObject({ kind: "prove", prepared: [{}, { incarnation: 0 }, {}] });
  });

  it("cannot begin without a writer", () => {
    expect(() => openSave(SAVE, ID, [])).toThrow(/has no writer/);
  });
});
