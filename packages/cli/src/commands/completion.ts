import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";

/** Each script asks `shardctl __complete -- WORDS…` for the candidates of the last word. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# bash completion of shardctl: source <(shardctl completion bash)
_shardctl() {
  local IFS=$'\\n'
  COMPREPLY=($(shardctl __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _shardctl shardctl
`,
  zsh: `#compdef shardctl
# zsh completion of shardctl: source <(shardctl completion zsh)
_shardctl() {
  local -a candidates
  candidates=("\${(@f)$(shardctl __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$candidates" ]]; then compadd -a candidates; else _files; fi
}
compdef _shardctl shardctl
`,
  fish: `# fish completion of shardctl: shardctl completion fish | source
function __shardctl_complete
    set -l words (commandline -opc) (commandline -ct)
    shardctl __complete -- $words[2..-1] 2>/dev/null
end
complete -c shardctl -a '(__shardctl_complete)'
`,
};

/** Prints the script for a shell. */
export async function run(call: Invocation): Promise<ExitCode> {
  const script = SCRIPTS[call.args[0] ?? ""];
  if (script === undefined) {
    throw new Refusal(EXIT.usage, `no completion for "${call.args[0]}"`, {
      why: "expected bash, zsh or fish",
    });
  }
  call.io.out(script);
  return EXIT.done;
}
