import { expect, test } from "vitest";
import { createLog, logFor } from "./log.ts";

function capture() {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  return { lines, log: createLog({ service: "test", version: "1", level: "info", destination }) };
}

test("lines carry service, level, time and what the child is bound to", () => {
  const { lines, log } = capture();
  logFor(log, { job: "a", generation: 3, rank: 1 }).info({ step: 7n }, "step finished");
  log.debug("not written");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    svc: "test",
    ver: "1",
    level: "info",
    job: "a",
    generation: 3,
    rank: 1,
    step: "7",
    msg: "step finished",
  });
  expect(lines[0]?.["time"]).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
});

test("no secret is written, by key or by shape, however deep", () => {
  const { lines, log } = capture();
  const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl";
  log.info(
    {
      token: "plain-secret-1",
      nested: { headers: { Authorization: "plain-secret-2" }, list: ["sk-sw-plainsecret3", jwt] },
      err: new Error("failed with Bearer plain-secret-4", { cause: new Error("hf_plainsecret5") }),
    },
    "request failed",
  );
  log.child({ password: "plain-secret-6" }).info("bound");
  const text = JSON.stringify(lines);
  expect(text).not.toMatch(/plain-?secret|eyJ/);
  expect(text.match(/\[redacted\]/g)?.length).toBeGreaterThanOrEqual(7);
});

test("an error keeps its message and the chain of its causes", () => {
  const { lines, log } = capture();
  log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed");
  expect(lines[0]?.["err"]).toMatchObject({ message: "outer", cause: { message: "inner" } });
});
