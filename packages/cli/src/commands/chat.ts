import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { EXIT, Refusal } from "../exit.ts";
import type { Invocation, Run } from "../invocation.ts";
import { visible } from "../render/escape.ts";
import { ensurePython, trainerPath } from "../up/python.ts";

const USAGE = "shardctl chat ft:NAME";
/** Turns kept as context; older ones are dropped first. */
const MESSAGES_MAX = 40;

interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

interface Heard {
  readonly ready?: boolean;
  readonly delta?: string;
  readonly done?: boolean;
  readonly error?: string;
}

/** A tuned model as its export describes it. */
interface Tuned {
  readonly adapter: string;
  readonly model: string;
  readonly system: string | null;
}

/** `shardctl chat ft:NAME`: talk to a finished job's model in the terminal; needs no running services. */
export const run: Run = async (call) => {
  const { io, flags, args, settings } = call;
  const tuned = findTuned(settings.dataDir, args[0]);
  const python = await ensurePython((line) => io.err(`${line}\n`));
  const system = flags.text("system") ?? tuned.system;
  io.err(`loading ${tuned.model.split("/").at(-1)} with ${tuned.adapter} …\n`);
  const talk = await startServing(python, tuned);
  try {
    if (io.stdinIsTty) io.err("Type a message and Enter; an empty line or Ctrl-D ends.\n");
    await converse(call, talk, system);
    return EXIT.done;
  } finally {
    talk.close();
  }
};

async function converse(call: Invocation, talk: Talk, system: string | null): Promise<void> {
  const { io } = call;
  const opening: Message[] = system === null ? [] : [{ role: "system", content: system }];
  let turns: Message[] = [];
  for (;;) {
    const text = await io.ask(io.stdinIsTty ? "> " : "");
    if (text === null || text.trim() === "") return;
    turns = [...turns, { role: "user" as const, content: text }].slice(-MESSAGES_MAX);
    let answer = "";
    for await (const delta of talk.say([...opening, ...turns])) {
      answer += delta;
      io.out(io.stdoutIsTty ? visible(delta) : delta);
    }
    io.out("\n");
    // A task-tuned model answers single messages; its own answers as context would only confuse it.
    turns = call.flags.on("multi-turn")
      ? [...turns, { role: "assistant" as const, content: answer }]
      : [];
  }
}

/** The export of a finished job in this data directory. Throws a Refusal that says what is missing. */
function findTuned(dataDir: string, reference: string | undefined): Tuned {
  const name = /^(?:ft:)?([a-z](?:[a-z0-9-]*[a-z0-9])?)$/.exec(reference ?? "")?.[1];
  if (name === undefined) {
    throw new Refusal(EXIT.usage, "which model?", {
      why: "expected ft:NAME of a finished job",
      next: USAGE,
    });
  }
  const adapter = join(dataDir, "exports", name, "peft");
  const config = join(adapter, "adapter_config.json");
  if (!existsSync(config)) {
    throw new Refusal(EXIT.error, `there is no adapter of job ${name} in ${dataDir}`, {
      why: "the job is not complete, or it exported nothing in the format peft",
      next: `shardctl get job ${name}`,
    });
  }
  const { base_model_name_or_path: model } = JSON.parse(readFileSync(config, "utf8")) as {
    base_model_name_or_path: string;
  };
  return { adapter, model, system: systemOf(adapter) };
}

/** The system message the training rows share, when the export recorded one. */
function systemOf(adapter: string): string | null {
  const path = join(adapter, "shardwright_template.json");
  if (!existsSync(path)) return null;
  const { system } = JSON.parse(readFileSync(path, "utf8")) as { system?: unknown };
  return typeof system === "string" ? system : null;
}

interface Talk {
  say(messages: readonly Message[]): AsyncGenerator<string, void, void>;
  close(): void;
}

const NEW_TOKENS_MAX = 512;

async function startServing(python: string, tuned: Tuned): Promise<Talk> {
  const args = [
    "-m",
    "shardwright_trainer.serve",
    "--model",
    tuned.model,
    "--adapter",
    tuned.adapter,
  ];
  const child = spawn(python, args, {
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      ...process.env,
      PYTHONPATH: trainerPath(),
      HF_HUB_OFFLINE: "1",
      TOKENIZERS_PARALLELISM: "false",
    },
  });
  const heard = linesOf(child);
  const first = await heard.next();
  if (first.done || first.value.ready !== true) {
    throw new Refusal(EXIT.error, "the model cannot be loaded", {
      why: first.done ? "the Python process ended" : (first.value.error ?? "no reason given"),
    });
  }
  return {
    say: async function* (messages) {
      child.stdin?.write(
        `${JSON.stringify({ id: 1, messages, max_new_tokens: NEW_TOKENS_MAX })}\n`,
      );
      for (;;) {
        const next = await heard.next();
        if (next.done) throw new Refusal(EXIT.error, "the Python process ended");
        if (next.value.error !== undefined) throw new Refusal(EXIT.error, next.value.error);
        if (next.value.done === true) return;
        yield next.value.delta ?? "";
      }
    },
    close: () => {
      child.stdin?.end();
      child.kill("SIGTERM");
    },
  };
}

async function* linesOf(child: ChildProcess): AsyncGenerator<Heard, void, void> {
  if (child.stdout === null) return;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("{")) yield JSON.parse(line) as Heard;
  }
}
