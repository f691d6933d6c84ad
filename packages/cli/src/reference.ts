import { EXIT_MEANING } from "./exit.ts";
import { type FlagSpec, GLOBAL_FLAGS, type Verb } from "./verb.ts";

/** The reference of the command line as Markdown, from the same table that `--help` is made of. */
export function reference(verbs: readonly Verb[]): string {
  const shown = verbs.filter(({ hidden }) => hidden !== true);
  return [
    "# shardctl",
    "Made from the verbs' own table (`npm run reference -w @shardwright/cli`); a test fails when the two differ.",
    overview(shown),
    "## Flags of every verb",
    `${flagTable(GLOBAL_FLAGS)}\n\nA flag wins over its \`SHARDWRIGHT_*\` variable, which wins over the default. Without \`--server\` a verb calls the control plane that serves the data directory (\`\${XDG_STATE_HOME:-~/.local/state}/shardwright\` unless it is named) with the token that lies there.`,
    "## Exit codes",
    exitTable(),
    "Where a verb takes a job, `NAME`, `job/NAME` and `job NAME` are the same.",
    'Data goes to standard output, everything else to standard error. JSON and YAML are stable, tables may change. Lists are `{"kind": "List", "items": […]}`.',
    ...shown.map(section),
    "",
  ].join("\n\n");
}

function overview(verbs: readonly Verb[]): string {
  const rows = verbs.map(
    (verb) => `| [\`${verb.path.join(" ")}\`](#${anchor(verb)}) | ${cell(verb.summary)} |`,
  );
  return ["| verb | does |", "|---|---|", ...rows].join("\n");
}

function section(verb: Verb): string {
  const usage = ["shardctl", ...verb.path, ...verb.args, "[flags]"].join(" ");
  const parts = [`## ${verb.path.join(" ")}`, `${capital(verb.summary)}.`, `    ${usage}`];
  if (verb.flags.length > 0) parts.push(flagTable(verb.flags));
  parts.push(verb.examples.map((example) => `    ${example}`).join("\n"));
  const codes = [0, 1, 2, ...verb.exits].map((code) => `\`${code}\``).join(", ");
  parts.push(`Exit codes: ${codes}.`);
  return parts.join("\n\n");
}

function flagTable(flags: readonly FlagSpec[]): string {
  const rows = flags.map(({ flags: spelled, help, choices, required }) => {
    const more = [
      choices === undefined ? "" : `one of ${choices.join(", ")}`,
      required ? "required" : "",
    ];
    const said = [help, ...more.filter((text) => text !== "")].join("; ");
    return `| \`${spelled}\` | ${cell(said)} |`;
  });
  return ["| flag | means |", "|---|---|", ...rows].join("\n");
}

function exitTable(): string {
  const rows = Object.entries(EXIT_MEANING).map(
    ([code, meaning]) => `| ${code} | ${cell(meaning)} |`,
  );
  return ["| code | means |", "|---|---|", ...rows].join("\n");
}

function anchor(verb: Verb): string {
  return verb.path.join("-");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
