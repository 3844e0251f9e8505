package main

import (
	"flag"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/project"
)

// candidates returns what may stand behind the words before, where word has
// been begun. It asks no daemon, so that it is fast and never hangs.
func (c *cli) candidates(before []string, word string) []string {
	command, words := descend(c.root(), before)
	for _, w := range before {
		if w == "--" {
			return nil // the rest is the user's own command line
		}
	}
	if len(words) > 0 {
		if f := valueFlag(command.FlagSet, words[len(words)-1]); f != nil {
			return flagValues(f.Name)
		}
	}
	if strings.HasPrefix(word, "-") {
		return flagNames(command.FlagSet)
	}
	if len(command.Subcommands) > 0 {
		return visible(command)
	}
	return c.argValues(command, positional(command.FlagSet, words))
}

// descend follows the words down to a command, and returns what is left.
func descend(at *ffcli.Command, words []string) (*ffcli.Command, []string) {
	for i, word := range words {
		if looksLikeFlag(word) {
			continue
		}
		next := subcommand(at, word)
		if next == nil {
			return at, words[i:]
		}
		at = next
		if len(at.Subcommands) == 0 {
			return at, words[i+1:]
		}
	}
	return at, nil
}

// valueFlag returns the flag that word is, if its value comes next.
func valueFlag(fs *flag.FlagSet, word string) *flag.Flag {
	if !looksLikeFlag(word) || strings.Contains(word, "=") {
		return nil
	}
	f := fs.Lookup(strings.TrimLeft(word, "-"))
	if f == nil || isBool(f) {
		return nil
	}
	return f
}

// positional returns the words that are no flags and no values of flags.
func positional(fs *flag.FlagSet, words []string) []string {
	var rest []string
	for i := 0; i < len(words); i++ {
		switch {
		case valueFlag(fs, words[i]) != nil:
			i++
		case !looksLikeFlag(words[i]):
			rest = append(rest, words[i])
		}
	}
	return rest
}

// flagValues returns the values of a flag that are few enough to list.
func flagValues(name string) []string {
	switch name {
	case "type":
		return []string{"notify", "forking"}
	case "limits":
		var values []string
		for _, name := range project.LimitNames() {
			values = append(values, name+"=")
		}
		return values
	case "leftovers":
		return []string{project.LeftoversKill, project.LeftoversWait}
	case "on-interrupt":
		return []string{project.InterruptRetry, project.InterruptFail}
	case "state":
		return runStates()
	}
	return settingValues(name)
}

// settingValues returns the values of a setting that are few enough to list.
func settingValues(name string) []string {
	key, _ := config.Lookup(name)
	switch {
	case key.Name == "":
		return nil
	case key.Kind == config.Bool:
		return []string{"true", "false"}
	case key.Kind == config.Port:
		return []string{"null"}
	}
	return key.Choices
}

// argValues returns what the next argument of a command may be, after the
// arguments that it has. The usage line says what it takes.
func (c *cli) argValues(command *ffcli.Command, args []string) []string {
	_, shape, _ := strings.Cut(command.ShortUsage, command.Name+" ")
	takes := strings.Fields(shape)
	if i := slices.IndexFunc(takes, isFlagShape); i >= 0 {
		takes = takes[:i]
	}
	next := len(args)
	if len(takes) > 0 && strings.Contains(takes[len(takes)-1], "...") {
		next = min(next, len(takes)-1)
	}
	if next >= len(takes) {
		return nil
	}
	switch strings.Trim(takes[next], "[]") {
	case "ID":
		return c.projectIDs()
	case "KEY":
		return keyNames()
	case "VALUE":
		return settingValues(args[0])
	case "bash|zsh|fish":
		return shells()
	case "COMMAND...":
		at, rest := descend(c.root(), args)
		if len(rest) == 0 {
			return visible(at)
		}
	}
	return nil
}

// isFlagShape tells the flags of a usage line from the arguments before them.
func isFlagShape(word string) bool {
	return strings.HasPrefix(word, "-") || strings.HasPrefix(word, "[-") || word == "[FLAGS]"
}

// projectIDs lists the registry, or nothing if it cannot be read.
func (c *cli) projectIDs() []string {
	home, err := c.home()
	if err != nil {
		return nil
	}
	registry, err := project.Store{Path: home.Projects}.Load()
	if err != nil {
		return nil
	}
	var ids []string
	for _, p := range registry.Projects() {
		ids = append(ids, p.ID)
	}
	return ids
}
