import { describe, expect, it } from "vitest";
import { visible, visibleLines } from "./escape.ts";

describe("visible", () => {
  it.each([
    ["a colour", "\u001b[31mred", "\\x1b[31mred"],
    ["a clipboard write (OSC 52)", "\u001b]52;c;aGk=\u0007", "\\x1b]52;c;aGk=\\x07"],
    ["a one-byte CSI", "\u009b2J", "\\x9b2J"],
    ["a carriage return that would overwrite the line", "fail\rdone", "fail\\rdone"],
    ["a right-to-left override", "abc\u202etxt.exe", "abc\\u{202e}txt.exe"],
    ["a bidirectional isolate", "\u2066x\u2069", "\\u{2066}x\\u{2069}"],
    ["an unpaired surrogate", "x\ud800y", "x\\u{d800}y"],
    ["a line break", "one\ntwo", "one\\ntwo"],
  ])("shows %s instead of obeying it", (_what, text, expected) => {
    expect(visible(text)).toBe(expected);
  });

  it("leaves ordinary text alone", () => {
    const text = "loss 1.234\tüber 読み 😀 → ok";
    expect(visible(text)).toBe(text);
  });
});

it("visibleLines keeps line breaks and nothing else", () => {
  expect(visibleLines("a\u001bb\nc\u0000")).toBe("a\\x1bb\nc\\x00");
});
