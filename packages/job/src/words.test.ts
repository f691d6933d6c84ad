import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson } from "./canonical-json.ts";
import { commitKeyText, readCommitKey } from "./checkpoint.ts";
import { Fault } from "./faults.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { isJobUid, makeJobUid, memberName, problemOfName, timeOfUid } from "./ids.ts";
import { editDistance, nearestName } from "./nearest.ts";
import { isFinal, JOB_STATES, type JobCondition, withCondition } from "./phase.ts";
import { pathOfSource, problemOfSource } from "./sources.ts";
import { bytesText, counted, countText, durationText, quoted } from "./units.ts";

describe("job uids", () => {
  it("are ULIDs", () => {
    const uid = makeJobUid(0, new Uint8Array(10));
    expect(uid).toBe("00000000000000000000000000");
    expect(makeJobUid(2 ** 48 - 1, new Uint8Array(10).fill(255))).toBe(
      "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    );
  });

  it("keep their time, sort by it and differ by chance", () => {
    const bytes = fc.uint8Array({ minLength: 10, maxLength: 10 });
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1), bytes, bytes, (a, b, first, second) => {
        const [early, late] = [makeJobUid(a * 2000, first), makeJobUid(b * 2000, second)];
        expect(isJobUid(early)).toBe(true);
        expect(timeOfUid(early)).toBe(a * 2000);
        if (a < b) expect(early < late).toBe(true);
        if (a === b) expect(early === late).toBe(first.join() === second.join());
      }),
    );
  });

  it("refuse a wrong time and a wrong number of bytes", () => {
    expect(() => makeJobUid(-1, new Uint8Array(10))).toThrow(RangeError);
    expect(() => makeJobUid(0, new Uint8Array(9))).toThrow("10 random bytes, got 9");
    expect(isJobUid("8ZZZZZZZZZZZZZZZZZZZZZZZZZ")).toBe(false);
  });
});

describe("names", () => {
  it.each(["a", "a-b", "job-1", "a".repeat(48)])("%s is legal", (name) => {
    expect(problemOfName(name)).toBeNull();
  });
  it.each(["", "-a", "a-", "1a", "A", "a_b", "a.b", "a b", "ä", "a".repeat(49), "a\n"])(
    "%j is not",
    (name) => {
      expect(problemOfName(name)).not.toBeNull();
    },
  );
  it("name members by slot", () => {
    expect(memberName("tone", 2)).toBe("tone-m2");
  });
});

describe("near names", () => {
  it.each([
    ["learning_rate", "learningRate"],
    ["LEARNINGRATE", "learningRate"],
    ["epocs", "epochs"],
    ["eopchs", "epochs"],
    ["sed", "seed"],
  ])("%s means %s", (written, meant) => {
    expect(nearestName(written, ["epochs", "learningRate", "seed"])).toBe(meant);
  });

  it("says nothing when nothing is near", () => {
    expect(nearestName("xyzzy", ["epochs", "seed"])).toBeNull();
    expect(nearestName("e".repeat(1000), ["epochs"])).toBeNull();
  });

  it("measures a distance", () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const distance = editDistance(a, b);
        expect(distance).toBe(editDistance(b, a));
        expect(distance === 0).toBe(a === b);
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
      }),
    );
  });
});

describe("sources", () => {
  it("are absolute files, or a job's result where that is a model", () => {
    expect(problemOfSource("file:///models/tiny", false)).toBeNull();
    expect(problemOfSource("ft:tone", true)).toBeNull();
    expect(problemOfSource("ft:tone", false)).toContain("data come from file:///");
    expect(pathOfSource("file:///a b/c")).toBe("/a b/c");
  });

  it("never lead out of the path that is written", () => {
    const part = fc.constantFrom("..", ".", "%2e%2e", "a", "\\..", "..\\", "a?b", "#x", "%2f");
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const isPlain = parts.every((one) => one === "a");
        expect(problemOfSource(`file:///${parts.join("/")}`, false) === null).toBe(isPlain);
      }),
    );
  });
});

describe("units", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [1536, "1.50 KiB"],
    [12.34 * 1024 ** 3, "12.3 GiB"],
    [1024 ** 3 - 1, "1.00 GiB"],
    [-2048, "-2.00 KiB"],
  ])("%d bytes are %s", (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  it.each([
    [0, "0ms"],
    [350, "350ms"],
    [12_000, "12s"],
    [192_000, "3m12s"],
    [180_000, "3m"],
    [7_500_000, "2h5m"],
    [371 * 3_600_000, "15d11h"],
    [-1000, "-1s"],
  ])("%d ms are %s", (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });

  it.each([
    [7, "7"],
    [0.456789, "0.457"],
    [1900, "1.9k"],
    [999_960, "1.0M"],
    [134_515_008, "134.5M"],
  ])("%d is %s", (count, text) => {
    expect(countText(count)).toBe(text);
  });

  it("counts things", () => {
    expect([counted(1, "rank"), counted(2, "rank"), counted(0, "copy", "copies")]).toEqual([
      "1 rank",
      "2 ranks",
      "0 copies",
    ]);
  });

  it("quotes without control characters", () => {
    expect(quoted("a\u001b[31m\u202eb", 40)).toBe("a�[31m�b");
    expect(quoted("🌍🌍🌍", 2)).toBe("🌍🌍…");
  });
});

describe("canonical JSON", () => {
  it("sorts keys, drops undefined and writes numbers as RFC 8785 does", () => {
    const value = { b: [1e-7, 1e21, -0, 5], a: { "\u20ac": "\u00e9", A: null, z: undefined } };
    expect(canonicalJson(value)).toBe('{"a":{"A":null,"\u20ac":"\u00e9"},"b":[1e-7,1e+21,0,5]}');
  });

  it("is the same for equal values and reads back", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it.each([[Number.NaN], ["\ud800"], [1n], [() => 1]])("refuses %s", (value) => {
    expect(() => canonicalJson(value)).toThrow(RangeError);
  });
});

describe("commit keys", () => {
  it("are fixed-width and sort by step", () => {
    expect(commitKeyText({ step: 1200, generation: 7, try: 0 })).toBe(
      "00000000000000001200-0000000007-000",
    );
    const key = fc.record({ step: fc.maxSafeNat(), generation: fc.nat(1e9), try: fc.nat(999) });
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(readCommitKey(commitKeyText(a))).toEqual(a);
        if (a.step < b.step) expect(commitKeyText(a) < commitKeyText(b)).toBe(true);
      }),
    );
  });

  it.each(["", "1-2-3", "99999999999999999999-0000000000-000", "x"])("%j is none", (text) => {
    expect(readCommitKey(text)).toBeNull();
  });
});

describe("conditions", () => {
  const reason = { code: "GangScheduled", sentence: "2 members placed" };
  const running: JobCondition = { type: "Running", status: "True", reason, lastTransitionMs: 10 };

  it("stand in one order, once each", () => {
    const admitted: JobCondition = { ...running, type: "Admitted", lastTransitionMs: 20 };
    const both = withCondition(withCondition([], running), admitted);
    expect(both.map(({ type }) => type)).toEqual(["Admitted", "Running"]);
  });

  it("keep their time until the status changes", () => {
    const before = withCondition([], running);
    const moved = {
      ...running,
      reason: { ...reason, sentence: "3 members" },
      lastTransitionMs: 30,
    };
    expect(withCondition(before, moved)[0]?.lastTransitionMs).toBe(10);
    const lost: JobCondition = { ...running, status: "False", lastTransitionMs: 40 };
    expect(withCondition(before, lost)[0]?.lastTransitionMs).toBe(40);
    expect(withCondition(before, { ...running, lastTransitionMs: 99 })).toBe(before);
  });

  it("ends in three states", () => {
    expect(JOB_STATES.filter(isFinal)).toEqual(["Complete", "Failed", "Cancelled"]);
  });
});

describe("faults", () => {
  it("stay themselves; anything else becomes internal and keeps its cause", () => {
    const fault = new Fault("not_found", "no such job");
    expect(Fault.from(fault)).toBe(fault);
    const cause = new TypeError("x is undefined");
    expect(Fault.from(cause)).toMatchObject({ kind: "internal", message: "internal error", cause });
  });
});

describe("fingerprints", () => {
  it("differ for a hundred thousand different texts", () => {
    const prints = new Set(
      Array.from({ length: 100_000 }, (_, i) => fingerprintOf(`example ${i}`)),
    );
    expect(prints.size).toBe(100_000);
  });
});
