import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { config, edit, put, WEIGHTS } from "./bad-input-spoil.ts";

/** A fault that only the trainer can see: the job starts and must end Failed for the user's reason. */
export interface TrainerCase {
  readonly name: string;
  readonly mentions: readonly string[];
  readonly spoil: (folder: string) => void;
}

const template =
  (text: string) =>
  (folder: string): void =>
    edit(folder, "tokenizer_config.json", (value) => ({ ...value, chat_template: text }));

/** Turns one weight into NaN in place; BF16 and F32 alike: all bits set. */
function poison(folder: string): void {
  const path = join(folder, WEIGHTS);
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  bytes.fill(0xff, 8 + length, 8 + length + 4096);
  writeFileSync(path, bytes);
}

// One loop is cut by the sandbox at 100,000 turns; four inside each other would never end.
const ENDLESS = `${"{% for a in range(99999) %}".repeat(4)}${"{% endfor %}".repeat(4)}`;

export const TRAINER_CASES: readonly TrainerCase[] = [
  {
    name: "template-endless",
    mentions: ["tokenizer_config.json", "took longer than"],
    spoil: template(ENDLESS),
  },
  {
    name: "template-escapes",
    mentions: ["chat template"],
    spoil: template(
      "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ),
  },
  {
    name: "template-large",
    mentions: ["tokenizer_config.json", "64 KiB"],
    spoil: template(`{# ${"x".repeat(100 * 1024)} #}`),
  },
  {
    name: "template-broken",
    mentions: ["tokenizer_config.json", "line 2"],
    spoil: template("{{ messages }}\n{% if %}"),
  },
  {
    name: "template-a-bomb",
    mentions: ["chat template", "repetition"],
    spoil: template("{{ 'x' * 10 ** 12 }}"),
  },
  {
    name: "tokenizer-broken",
    mentions: ["tokenizer.json"],
    spoil: put("tokenizer.json", '{"version": "1.0"'),
  },
  {
    name: "tokenizer-settings-broken",
    mentions: ["tokenizer_config.json", "not valid JSON"],
    spoil: put("tokenizer_config.json", "{,}"),
  },
  {
    name: "heads-of-other-weights",
    mentions: ["config.json", "48"],
    spoil: config({ num_attention_heads: 5, num_key_value_heads: 5 }),
  },
  {
    name: "weights-of-other-width",
    mentions: ["cannot be loaded"],
    spoil: config({ intermediate_size: 128 }),
  },
  {
    name: "activation-unknown",
    mentions: ["config.json", "evil"],
    spoil: config({ hidden_act: "evil" }),
  },
  { name: "weights-nan", mentions: ["not finite"], spoil: poison },
];
