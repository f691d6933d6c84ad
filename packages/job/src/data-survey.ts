/** What a file of training data holds, counted as it is read. */
import { DATA_TEXTS, type DataProblem, type DataProblemCode } from "./data-problems.ts";
import type { CanonicalRecord } from "./data-records.ts";

/** Over all examples; all 0 when there are none. */
export interface Spread {
  readonly min: number;
  readonly mean: number;
  readonly max: number;
}

/** What a file holds, without knowing any tokenizer. */
export interface DataStatistics {
  readonly examples: number;
  readonly imageRowsSkipped: number;
  /** Chats without a system, a user message. */
  readonly withoutSystem: number;
  readonly withoutUser: number;
  readonly withTools: number;
  readonly messagesPerExample: Spread;
  /** UTF-16 units of all texts. */
  readonly charactersPerExample: Spread;
  /** UTF-16 units of what the default mask learns. */
  readonly learnedCharactersPerExample: Spread;
}

/** The part of a problem list that a survey writes to. */
interface Problems {
  add(
    severity: DataProblem["severity"],
    code: DataProblemCode,
    at: { message: string; line: number | null; example: number | null },
  ): void;
}

/** Told every record; warns of what it sees. */
export interface DataSurvey {
  record(record: CanonicalRecord, problems: Problems): void;
  imageRow(): void;
  end(problems: Problems): void;
  statistics(): DataStatistics;
}

/** What a text must not give away: the name of the pattern is told, never the text. */
const SECRETS: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: "a private key", pattern: /-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----/ },
  { what: "an AWS access key", pattern: /\bAKIA[0-9A-Z]{16}\b/ },
  { what: "a GitHub token", pattern: /\bgh[pousr]_[A-Za-z0-9]{36}\b/ },
  { what: "a Slack token", pattern: /\bxox[abprs]-[A-Za-z0-9-]{10}/ },
  { what: "a Hugging Face token", pattern: /\bhf_[A-Za-z0-9]{34}\b/ },
  { what: "an OpenAI key", pattern: /\bsk-(?:proj-)?[A-Za-z0-9_-]{32}/ },
];

/** An empty survey. */
export function makeDataSurvey(): DataSurvey {
  let imageRowsSkipped = 0;
  let withoutSystem = 0;
  let withoutUser = 0;
  let withTools = 0;
  const messages = makeSpread();
  const length = makeSpread();
  const learned = makeSpread();
  return {
    record(record, problems) {
      const isChat = record.kind === "chat";
      if (isChat && !record.messages.some(({ role }) => role === "system")) withoutSystem++;
      if (isChat && !record.messages.some(({ role }) => role === "user")) withoutUser++;
      if (record.tools.length > 0) withTools++;
      messages.add(record.messages.length);
      const texts = textsOf(record);
      length.add(texts.reduce((sum, text) => sum + text.length, 0));
      learned.add(learnedCharacters(record));
      warnOfSecrets(record, texts, problems);
    },
    imageRow() {
      imageRowsSkipped++;
    },
    end(problems) {
      const warn = (code: DataProblemCode, message: string): void =>
        problems.add("warning", code, { message, line: null, example: null });
      if (imageRowsSkipped > 0) warn("image_skipped", DATA_TEXTS.imagesSkipped(imageRowsSkipped));
      if (withoutSystem > 0) {
        warn("missing_system", DATA_TEXTS.missingMessages(withoutSystem, "system"));
      }
      if (withoutUser > 0) warn("missing_user", DATA_TEXTS.missingMessages(withoutUser, "user"));
    },
    statistics: () => ({
      examples: messages.count(),
      imageRowsSkipped,
      withoutSystem,
      withoutUser,
      withTools,
      messagesPerExample: messages.read(),
      charactersPerExample: length.read(),
      learnedCharactersPerExample: learned.read(),
    }),
  };
}

function makeSpread(): { add(value: number): void; count(): number; read(): Spread } {
  let count = 0;
  let sum = 0;
  let min = 0;
  let max = 0;
  return {
    add(value) {
      min = count === 0 ? value : Math.min(min, value);
      max = Math.max(max, value);
      sum += value;
      count++;
    },
    count: () => count,
    read: () => ({ min, mean: count === 0 ? 0 : sum / count, max }),
  };
}

/** The messages of a chat, else the fields: a chat's fields repeat its messages. */
function textsOf(record: CanonicalRecord): string[] {
  return record.messages.length > 0
    ? record.messages.map(({ content }) => content)
    : Object.values(record.fields);
}

function learnedCharacters(record: CanonicalRecord): number {
  if (record.mask === "all") return textsOf(record).reduce((sum, text) => sum + text.length, 0);
  if (record.kind === "prompt") return (record.fields["completion"] ?? "").length;
  return record.messages
    .filter(({ weight }) => weight === 1)
    .reduce((sum, { content }) => sum + content.length, 0);
}

function warnOfSecrets(
  record: CanonicalRecord,
  texts: readonly string[],
  problems: Problems,
): void {
  for (const { what, pattern } of SECRETS) {
    if (!texts.some((text) => pattern.test(text))) continue;
    const message = DATA_TEXTS.sensitive(record.line, what);
    problems.add("warning", "sensitive_content", {
      message,
      line: record.line,
      example: record.example,
    });
  }
}
