import { nearestName } from "@shardwright/job/nearest";
import { Command, CommanderError, Option } from "commander";
import { EXIT, EXIT_MEANING, type ExitCode, failureOf } from "./exit.ts";
import { flagsOf } from "./invocation.ts";
import { type Io, processIo } from "./io.ts";
import { joinJobWords, refuseExcess } from "./job-words.ts";
import { visible } from "./render/escape.ts";
import { settingsOf } from "./settings.ts";
import { type FlagSpec, GLOBAL_FLAGS, type Verb } from "./verb.ts";
import { VERBS } from "./verbs.ts";

/** Commander's tree of all verbs. `ran` is told how the chosen verb ended. */
export function buildProgram(io: Io, ran: (exit: ExitCode, verb: Verb) => void): Command {
  const program = new Command("shardctl")
    .description("Fine-tune language models with exact elasticity.")
    .usage("VERB [flags]")
    .helpOption("-h, --help", "help for a verb")
    .helpCommand("help [verb]", "help for a verb")
    .showSuggestionAfterError(false)
    .exitOverride();
  for (const flag of GLOBAL_FLAGS) program.addOption(optionOf(flag));
  for (const verb of VERBS) addVerb(program, verb, io, ran);
  return program;
}

/** Runs one command line and returns its exit code; never throws. */
export async function main(argv: readonly string[], io: Io): Promise<ExitCode> {
  let exit: ExitCode = EXIT.done;
  const program = buildProgram(io, (code) => {
    exit = code;
  });
  const complaints: string[] = [];
  configureOutput(program, io, complaints);
  try {
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync([...argv], { from: "user" });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? EXIT.done : usageError(error, program, { argv, io });
    }
    return report(error, argv, io);
  }
}

/** The process: argv, signals, a reader that goes away, the exit code. */
export async function runProcess(own: NodeJS.Process): Promise<void> {
  const io = processIo(own, programName(own.argv[1] ?? ""));
  own.stdout.on("error", (error: NodeJS.ErrnoException) => {
    own.exit(error.code === "EPIPE" ? EXIT.done : EXIT.error);
  });
  own.stderr.on("error", () => undefined); // nobody left to tell
  const argv = own.argv.slice(2);
  if (!verbOf(argv)?.ownsSignals) {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      own.once(signal, () => {
        const say = io.interrupted();
        if (say !== null) io.err(`${io.stderrIsTty ? "\r\u001b[K" : ""}${say}\n`);
        own.exit(EXIT.interrupted);
      });
    }
  }
  const exit = await main(argv, io);
  // Channels and watchers may still hold the loop; everything was said.
  own.stdout.write("", () => own.exit(exit));
}

function addVerb(
  program: Command,
  verb: Verb,
  io: Io,
  ran: (exit: ExitCode, verb: Verb) => void,
): void {
  const parent = verb.path.slice(0, -1).reduce(groupOf, program);
  const command = parent.command(verb.path.at(-1) ?? "", { hidden: verb.hidden === true });
  command.summary(verb.summary).description(verb.summary).showSuggestionAfterError(false);
  for (const argument of verb.args) command.argument(argument);
  // `job NAME` is one argument of ours and two of commander's: what is too much is said below.
  command.allowExcessArguments();
  for (const flag of verb.flags) command.addOption(optionOf(flag));
  if (verb.passThrough) command.allowUnknownOption().helpOption(false);
  command.addHelpText("before", examplesOf(verb)).addHelpText("after", exitsOf(verb));
  command.action(async () => {
    const flags = flagsOf(command.optsWithGlobals());
    const settings = settingsOf(flags, {
      env: io.env,
      cwd: io.cwd,
      tty: io.stderrIsTty && io.stdinIsTty,
    });
    const args = joinJobWords(verb, command.args);
    refuseExcess(verb, args, io.program);
    const { run } = await verb.load();
    ran(await run({ args, flags, settings, io }), verb);
  });
}

const GROUPS: Readonly<Record<string, { summary: string; aliases: readonly string[] }>> = {
  checkpoints: { summary: "list, inspect and verify checkpoints", aliases: ["checkpoint", "ckpt"] },
  data: { summary: "check training data", aliases: [] },
};

function groupOf(parent: Command, name: string): Command {
  const known = parent.commands.find((command) => command.name() === name);
  if (known !== undefined) return known;
  const about = GROUPS[name];
  return parent
    .command(name)
    .summary(about?.summary ?? "")
    .description(about?.summary ?? "")
    .aliases(about?.aliases ?? [])
    .helpCommand(false)
    .showSuggestionAfterError(false);
}

function optionOf(flag: FlagSpec): Option {
  const option = new Option(flag.flags, flag.help);
  if (flag.choices) option.choices(flag.choices);
  if (flag.required) option.makeOptionMandatory();
  return option;
}

function examplesOf(verb: Verb): string {
  if (verb.examples.length === 0) return "";
  return `Examples:\n${verb.examples.map((example) => `  ${example}\n`).join("")}`;
}

function exitsOf(verb: Verb): string {
  const codes = [0, 1, 2, ...verb.exits] as const;
  return `\nExit codes:\n${codes.map((code) => `  ${code}  ${EXIT_MEANING[code]}\n`).join("")}`;
}

function configureOutput(program: Command, io: Io, complaints: string[]): void {
  const output = {
    writeOut: (text: string) => io.out(text),
    writeErr: (text: string) => io.err(text),
    outputError: (text: string) => void complaints.push(text),
    getOutHelpWidth: () => io.columns,
    getErrHelpWidth: () => io.columns,
  };
  const visit = (command: Command): void => {
    command.configureOutput(output).exitOverride();
    for (const child of command.commands) visit(child);
  };
  visit(program);
}

/** Three lines: what, why, next. */
function report(reason: unknown, argv: readonly string[], io: Io): ExitCode {
  const failure = failureOf(reason);
  io.err(`error: ${visible(failure.what)}\n`);
  for (const line of failure.why) io.err(`  why: ${visible(line)}\n`);
  if (failure.next !== null) io.err(`  next: ${failure.next}\n`);
  if (verbosityOf(argv) >= 6 && reason instanceof Error) io.err(`${reason.stack ?? ""}\n`);
  return failure.exit;
}

function usageError(
  error: CommanderError,
  program: Command,
  call: { readonly argv: readonly string[]; readonly io: Io },
): ExitCode {
  const { argv, io } = call;
  const words = argv.filter((word) => !word.startsWith("-"));
  const group = program.commands.find((command) => command.name() === words[0]);
  if (error.code === "commander.help") {
    // A group without its verb: commander has shown the help, on stderr.
    return EXIT.usage;
  }
  if (error.code === "commander.unknownCommand") {
    const parent = group !== undefined && group.commands.length > 0 ? group : program;
    const typed = (parent === program ? words[0] : words[1]) ?? "";
    const near = nearestName(
      typed,
      parent.commands.map((command) => command.name()).filter((name) => !name.startsWith("_")),
    );
    const hint = near === null ? "" : `; did you mean "${near}"?`;
    io.err(`unknown command "${visible(typed)}"${hint}\n`);
  } else {
    io.err(`${visible(error.message)}\n`);
  }
  io.err(`  next: ${io.program} ${group === undefined ? "" : `${group.name()} `}--help\n`);
  return EXIT.usage;
}

function verbOf(argv: readonly string[]): Verb | undefined {
  const word = argv.find((candidate) => !candidate.startsWith("-"));
  return VERBS.find((verb) => verb.path[0] === word);
}

function verbosityOf(argv: readonly string[]): number {
  const at = argv.findIndex((word) => word === "-v" || word === "--verbosity");
  const value =
    at < 0 ? argv.find((word) => /^(-v|--verbosity=)\d$/.test(word))?.slice(-1) : argv[at + 1];
  return Number(value ?? 0) || 0;
}

function programName(path: string): string {
  return /(^|[/\\])kubectl-/.test(path) ? "kubectl shardwright" : "shardctl";
}
