/**
 * Writes vectors/datasets.json: files of every trainable shape with their canonical records, and bad files with
 * the exact code, text and line. The checker of the job package and the trainer's reader are both held to the
 * committed file. After a build: `npx node test/contract/make-dataset-vectors.ts`.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { checkDataset, containerOf } from "@shardwright/job";

interface Case {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  readonly mlx?: true;
  readonly format?: "auto" | "chat" | "completions" | "mlx" | "alpaca";
  readonly map?: Readonly<Record<string, string>>;
}

const rows = (...values: unknown[]): string =>
  values.map((value) => `${typeof value === "string" ? value : JSON.stringify(value)}\n`).join("");

const user = (content: unknown): object => ({ role: "user", content });
const assistant = (content: unknown, more: object = {}): object => ({
  role: "assistant",
  content,
  ...more,
});
const chat = (...messages: unknown[]): object => ({ messages });
const hello = [user("Hello"), assistant("Hi.")];
const weather = {
  type: "function",
  function: { name: "weather", description: "Weather of a city", parameters: { type: "object" } },
};
const callOf = (name: string, args: string, id?: string): object => ({
  ...(id === undefined ? {} : { id }),
  type: "function",
  function: { name, arguments: args },
});
const called = (args: string): object =>
  assistant(null, { tool_calls: [callOf("weather", args, "c1")] });

const GOOD: readonly Case[] = [
  {
    name: "chat with system, developer, weights and names",
    file: "a.jsonl",
    text: rows(
      chat({ role: "system", content: "Be short." }, ...hello),
      chat(
        { role: "developer", content: "Be kind." },
        user("1"),
        assistant("2", { weight: 0 }),
        user("3"),
        assistant("4", { weight: 1 }),
      ),
      chat({ role: "user", name: "ann", content: "Grüße, 世界 🌍" }, assistant("こんにちは")),
    ),
  },
  {
    name: "chat with text parts",
    file: "a.jsonl",
    text: rows(
      chat(
        user([
          { type: "text", text: "one " },
          { type: "text", text: "two" },
        ]),
        assistant("3"),
      ),
    ),
  },
  {
    name: "chat with tools",
    file: "a.jsonl",
    text: rows({
      messages: [
        user("Rain in Oslo?"),
        called('{"city": "Oslo"}'),
        { role: "tool", tool_call_id: "c1", content: "yes" },
        assistant("Take an umbrella."),
      ],
      tools: [weather],
      parallel_tool_calls: false,
    }),
  },
  {
    name: "chat with the older functions",
    file: "a.jsonl",
    text: rows({
      messages: [
        user("Rain?"),
        { role: "assistant", content: null, function_call: { name: "weather", arguments: "{}" } },
        { role: "function", name: "weather", content: "no" },
        assistant("No."),
      ],
      functions: [weather.function],
    }),
  },
  {
    name: "prompt and completion",
    file: "a.jsonl",
    text: rows({ prompt: "2+2=", completion: " 4" }, { prompt: "", completion: "Once" }),
  },
  {
    name: "Alpaca with and without input, system and history",
    file: "a.json",
    text: JSON.stringify(
      [
        { instruction: "Add.", input: "1 2", output: "3" },
        { instruction: "Say hi.", input: "", output: "hi", system: "Be brief." },
        { instruction: "And now?", output: "bye", history: [["Say hi.", "hi"]] },
      ],
      null,
      1,
    ),
  },
  {
    name: "ShareGPT",
    file: "a.jsonl",
    text: rows(
      {
        conversations: [
          { from: "human", value: "Hi" },
          { from: "gpt", value: "Hello" },
        ],
      },
      {
        system: "You call tools.",
        conversations: [
          { from: "human", value: "Rain?" },
          { from: "function_call", value: '{"name": "weather", "arguments": {"city": "Oslo"}}' },
          { from: "observation", value: "yes" },
          { from: "gpt", value: "Yes." },
        ],
      },
      {
        conversations: [
          { from: "system", value: "Short." },
          { from: "human", value: "a" },
          { from: "gpt", value: "b" },
        ],
      },
    ),
  },
  {
    name: "MLX folder of completions",
    file: "train.jsonl",
    mlx: true,
    text: rows({ prompt: "Capital of France?", completion: "Paris" }),
  },
  { name: "MLX folder of chats", file: "train.jsonl", mlx: true, text: rows(chat(...hello)) },
  {
    name: "MLX folder of texts",
    file: "train.jsonl",
    mlx: true,
    text: rows({ text: "Once upon a time" }),
  },
  { name: "text rows", file: "a.jsonl", text: rows({ text: "first" }, { text: "second\nline" }) },
  {
    name: "CSV with a map, quotes, a line feed in a cell and CRLF",
    file: "a.csv",
    map: { input: "word", output: "reading" },
    text: 'word,reading,page\r\n東京,とうきょう,1\r\n"a ""b"", c","two\r\nlines",2\r\n',
  },
  {
    name: "TSV with the columns input and output",
    file: "a.tsv",
    text: "input\toutput\none\tuno\ntwo\tdos\n",
  },
  {
    name: "CSV with a map to prompt and completion",
    file: "a.csv",
    map: { prompt: "q", completion: "a" },
    text: "q,a\n1+1,2\n",
  },
  { name: "a text file is one document", file: "a.txt", text: "First line.\nSecond line.\n" },
  { name: "a text file without a last line feed", file: "a.txt", text: "First.\nSecond." },
  { name: "a Markdown file is one document", file: "a.md", text: "# Title\r\n\r\nText.\r\n" },
  {
    name: "byte order mark and CRLF",
    file: "a.jsonl",
    text: `\uFEFF${JSON.stringify(chat(...hello))}\r\n`,
  },
  {
    name: "blank lines do not count as examples and keep line numbers",
    file: "a.jsonl",
    text: `${JSON.stringify(chat(...hello))}\n\n\n${JSON.stringify(chat(user("a"), assistant("b")))}\n\n`,
  },
  {
    name: "a chat row with data.format, though it could be completions too",
    file: "a.jsonl",
    format: "chat",
    text: rows({ ...chat(...hello), prompt: "a", completion: "b" }),
  },
  {
    name: "rows with pictures are skipped",
    file: "a.jsonl",
    text: rows(
      chat(
        user([
          { type: "text", text: "What?" },
          { type: "image_url", image_url: { url: "x" } },
        ]),
        assistant("A cat."),
      ),
      chat(...hello),
    ),
  },
];

const BAD: readonly Case[] = [
  { name: "a line is no object", file: "a.jsonl", text: rows(chat(...hello), '"just text"') },
  { name: "a number", file: "a.jsonl", text: rows("42") },
  {
    name: "missing comma",
    file: "a.jsonl",
    text: rows(chat(...hello), '{"messages": [] "tools": []}'),
  },
  { name: "missing value", file: "a.jsonl", text: rows('{"messages": }') },
  { name: "missing colon", file: "a.jsonl", text: rows('{"messages" []}') },
  { name: "a key without quotes", file: "a.jsonl", text: rows("{messages: []}") },
  { name: "an open string", file: "a.jsonl", text: rows('{"messages": "abc') },
  { name: "a bad escape", file: "a.jsonl", text: rows('{"a": "\\x"}') },
  {
    name: "a bad unicode escape after other characters",
    file: "a.jsonl",
    text: rows('{"世界 🌍": "\\u12G4"}'),
  },
  { name: "two objects on one line", file: "a.jsonl", text: rows("{} {}") },
  { name: "a tab inside text", file: "a.jsonl", text: rows('{"a": "x\ty"}') },
  { name: "NaN", file: "a.jsonl", text: rows('{"a": NaN}') },
  { name: "a truncated line", file: "a.jsonl", text: '{"messages": [{"role": "user"' },
  { name: "NUL", file: "a.jsonl", text: rows(chat(...hello), '{"a": "b\0"}') },
  { name: "a lone surrogate", file: "a.jsonl", text: rows('{"text": "a \\ud83d b"}') },
  { name: "an escaped NUL", file: "a.jsonl", text: rows('{"text": "\\u0000"}') },
  { name: "key missing in a later row", file: "a.jsonl", text: rows(chat(...hello), { id: 2 }) },
  { name: "messages is empty", file: "a.jsonl", text: rows(chat()) },
  { name: "messages is no list", file: "a.jsonl", text: rows({ messages: "hello" }) },
  { name: "a message is text", file: "a.jsonl", text: rows(chat("hello", assistant("x"))) },
  { name: "no role", file: "a.jsonl", text: rows(chat({ content: "x" }, assistant("y"))) },
  { name: "no content", file: "a.jsonl", text: rows(chat({ role: "user" }, assistant("y"))) },
  { name: "empty content", file: "a.jsonl", text: rows(chat(user(""), assistant("y"))) },
  { name: "content is a number", file: "a.jsonl", text: rows(chat(user(7), assistant("y"))) },
  {
    name: "extra key",
    file: "a.jsonl",
    text: rows(chat({ ...user("a"), wait: 1 }, assistant("y"))),
  },
  {
    name: "unknown role",
    file: "a.jsonl",
    text: rows(chat({ role: "bot", content: "a" }, assistant("y"))),
  },
  { name: "no assistant", file: "a.jsonl", text: rows(chat(user("a"))) },
  {
    name: "assistants of weight 0 only",
    file: "a.jsonl",
    text: rows(chat(user("a"), assistant("b", { weight: 0 }))),
  },
  {
    name: "weight of a user",
    file: "a.jsonl",
    text: rows(chat({ ...user("a"), weight: 1 }, assistant("b"))),
  },
  { name: "weight 2", file: "a.jsonl", text: rows(chat(user("a"), assistant("b", { weight: 2 }))) },
  { name: "arguments are no JSON", file: "a.jsonl", text: rows(chat(user("a"), called("{city"))) },
  {
    name: "a tool that is not declared",
    file: "a.jsonl",
    text: rows({
      ...chat(user("a"), assistant(null, { tool_calls: [callOf("time", "{}", "c1")] })),
      tools: [weather],
    }),
  },
  { name: "tools is empty", file: "a.jsonl", text: rows({ ...chat(...hello), tools: [] }) },
  {
    name: "a tool without a name",
    file: "a.jsonl",
    text: rows({ ...chat(...hello), tools: [{ type: "function", function: {} }] }),
  },
  {
    name: "a call without a name",
    file: "a.jsonl",
    text: rows(chat(user("a"), assistant(null, { tool_calls: [{ id: "1" }] }))),
  },
  {
    name: "an answer to no call",
    file: "a.jsonl",
    text: rows(chat(user("a"), { role: "tool", tool_call_id: "c9", content: "x" }, assistant("b"))),
  },
  {
    name: "a picture in an answer",
    file: "a.jsonl",
    text: rows(chat(user("a"), assistant([{ type: "image_url", image_url: { url: "x" } }]))),
  },
  {
    name: "completion is missing",
    file: "a.jsonl",
    text: rows({ prompt: "a", completion: "b" }, { prompt: "a" }),
  },
  { name: "completion is empty", file: "a.jsonl", text: rows({ prompt: "a", completion: " " }) },
  { name: "completion is a list", file: "a.jsonl", text: rows({ prompt: "a", completion: ["b"] }) },
  { name: "Alpaca output is empty", file: "a.jsonl", text: rows({ instruction: "a", output: "" }) },
  {
    name: "Alpaca history is text",
    file: "a.jsonl",
    text: rows({ instruction: "a", output: "b", history: "c" }),
  },
  { name: "text is null", file: "a.jsonl", text: rows({ text: null }) },
  { name: "conversations is empty", file: "a.jsonl", text: rows({ conversations: [] }) },
  {
    name: "two humans in a row",
    file: "a.jsonl",
    text: rows({
      conversations: [
        { from: "human", value: "a" },
        { from: "human", value: "b" },
      ],
    }),
  },
  {
    name: "a conversation without an answer",
    file: "a.jsonl",
    text: rows({ conversations: [{ from: "human", value: "a" }] }),
  },
  {
    name: "an empty turn",
    file: "a.jsonl",
    text: rows({
      conversations: [
        { from: "human", value: "a" },
        { from: "gpt", value: "" },
      ],
    }),
  },
  {
    name: "a function call that is no JSON",
    file: "a.jsonl",
    text: rows({
      conversations: [
        { from: "human", value: "a" },
        { from: "function_call", value: "weather()" },
      ],
    }),
  },
  {
    name: "two shapes in one file",
    file: "a.jsonl",
    text: rows(chat(...hello), { prompt: "a", completion: "b" }),
  },
  {
    name: "a row of two shapes",
    file: "a.jsonl",
    text: rows({ ...chat(...hello), prompt: "a", completion: "b" }),
  },
  { name: "unknown shape", file: "a.jsonl", text: rows({ a: 1, b: 2 }) },
  {
    name: "preference data",
    file: "a.jsonl",
    text: rows({ input: { messages: [] }, preferred_output: [], non_preferred_output: [] }),
  },
  {
    name: "chosen and rejected",
    file: "a.jsonl",
    text: rows({ prompt: "a", chosen: "b", rejected: "c" }),
  },
  {
    name: "unpaired preference data",
    file: "a.jsonl",
    text: rows({ prompt: "a", completion: "b", label: true }),
  },
  {
    name: "stepwise data",
    file: "a.jsonl",
    text: rows({ prompt: "a", completions: ["b"], labels: [true] }),
  },
  { name: "a table without a map", file: "a.csv", text: "word,reading\na,b\n" },
  {
    name: "a map to a column that is not there",
    file: "a.csv",
    map: { input: "q", output: "a" },
    text: "question,a\n1,2\n",
  },
  { name: "a row with too many fields", file: "a.csv", text: "input,output\n1,2,3\n" },
  { name: "a column name twice", file: "a.csv", text: "input,input\n1,2\n" },
  { name: "an open quote", file: "a.csv", text: 'input,output\n"1,2\n' },
  { name: "text after a closing quote", file: "a.csv", text: 'input,output\n"1"x,2\n' },
];

/** The file's lines with their line feeds. */
function linesOf(text: string): string[] {
  return text.split(/(?<=\n)/);
}

function vectorOf(one: Case): object {
  const container = containerOf(one.file);
  if (container === null) throw new Error(`${one.name}: no container for ${one.file}`);
  const records: object[] = [];
  const report = checkDataset(linesOf(one.text), {
    container,
    isMlx: one.mlx === true,
    format: one.format ?? "auto",
    map: one.map ?? {},
    allowSmall: true,
    onRecord: (record) => records.push(record),
  });
  const errors = report.problems
    .filter(({ severity, code }) => severity === "error" && code !== "invalid_n_examples")
    .map(({ code, message, line }) => ({ code, message, line }));
  return {
    name: one.name,
    file: one.file,
    mlx: one.mlx === true,
    data: { format: one.format ?? "auto", map: one.map ?? {} },
    text: one.text,
    records,
    errors,
  };
}

const vectors = {
  about:
    "Files of training data and what a reader makes of them: canonical records, or errors. Written by make-dataset-vectors.ts.",
  good: GOOD.map(vectorOf),
  bad: BAD.map(vectorOf),
};
const target = fileURLToPath(new URL("./vectors/datasets.json", import.meta.url));
writeFileSync(target, `${JSON.stringify(vectors, null, 1)}\n`);
process.stdout.write(`${GOOD.length} good and ${BAD.length} bad files → ${target}\n`);
