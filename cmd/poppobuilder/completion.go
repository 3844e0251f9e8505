package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// The scripts hand the words before the cursor, and the one under it, to the
// hidden command __complete, which prints one candidate a line.
var completionScripts = map[string]string{
	"bash": `# poppobuilder completion for bash. Try it: source <(poppobuilder completion bash)
_poppobuilder() {
    local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$word"))
}
complete -o default -F _poppobuilder poppobuilder
`,
	"zsh": `#compdef poppobuilder
# poppobuilder completion for zsh. Try it: source <(poppobuilder completion zsh)
_poppobuilder() {
    local -a candidates
    candidates=(${(f)"$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#candidates} )); then compadd -a candidates; else _files; fi
}
if [ "$funcstack[1]" = "_poppobuilder" ]; then _poppobuilder "$@"; else compdef _poppobuilder poppobuilder; fi
`,
	"fish": `# poppobuilder completion for fish. Try it: poppobuilder completion fish | source
function __poppobuilder_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete -- $words[2..] 2>/dev/null
end
complete -c poppobuilder -a '(__poppobuilder_complete)'
`,
}

func (c *cli) completionCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "completion",
		ShortUsage: "poppobuilder completion bash|zsh|fish",
		ShortHelp:  "print a script that completes command lines",
		LongHelp: `EXAMPLE
  poppobuilder completion bash > ~/.local/share/bash-completion/completions/poppobuilder`,
		FlagSet: newFlagSet("completion"),
		Exec: func(_ context.Context, args []string) error {
			if err := exactArgs(args, "SHELL"); err != nil {
				return err
			}
			script, ok := completionScripts[args[0]]
			if !ok {
				return &usageError{problem: fmt.Sprintf("unknown shell %q: use one of %s", args[0], strings.Join(shells(), ", "))}
			}
			c.printf("%s", script)
			return nil
		},
	}
}

func shells() []string { return []string{"bash", "zsh", "fish"} }

func (c *cli) completeCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "__complete",
		ShortUsage: "poppobuilder __complete -- WORD...",
		FlagSet:    newFlagSet("__complete"),
		Exec: func(_ context.Context, args []string) error {
			_, words := splitCommand(args)
			if len(words) == 0 {
				words = []string{""}
			}
			last := words[len(words)-1]
			for _, candidate := range c.candidates(words[:len(words)-1], last) {
				if strings.HasPrefix(candidate, last) {
					c.printf("%s\n", candidate)
				}
			}
			return nil
		},
	}
}
