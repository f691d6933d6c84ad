import { describe, expect, it } from "vitest";
import { renderJsonPath } from "./jsonpath.ts";

const DOCUMENT = {
  metadata: { name: "tone", labels: { "a.b/c": "x" } },
  status: { state: "Running", progress: { step: 7 } },
  items: [
    { name: "m0", ranks: [{ pid: 41 }, { pid: 42 }] },
    { name: "m1", ranks: [{ pid: 43 }] },
  ],
};

describe("renderJsonPath", () => {
  it.each([
    ["{.status.state}", "Running"],
    ["{.status.progress}", '{"step":7}'],
    ["step={.status.progress.step}!", "step=7!"],
    ["{.items[*].name}", "m0 m1"],
    ["{.items[0].ranks[*].pid}", "41 42"],
    ["{.items[-1].name}", "m1"],
    ["{.metadata.labels['a.b/c']}", "x"],
    ["{.missing.field}", ""],
    ["{.constructor}", ""],
    ['{range .items[*]}{.name}{"\\t"}{.ranks[0].pid}{"\\n"}{end}', "m0\t41\nm1\t43\n"],
    ["{range .items[*]}{range .ranks[*]}<{.pid}>{end}{end}", "<41><42><43>"],
  ])("%s", (template, text) => {
    expect(renderJsonPath(template, DOCUMENT)).toEqual({ ok: true, text });
  });

  it.each(["{.a", "}", "{end}", "{range .items[*]}x", "{.a[}", "{.a[x]}"])(
    "refuses %s with a reason",
    (template) => {
      const rendered = renderJsonPath(template, DOCUMENT);
      expect(rendered.ok).toBe(false);
    },
  );
});
