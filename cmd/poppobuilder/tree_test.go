package main

import (
	"strings"
	"testing"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// Every command that people see explains itself, shows an example, and has a
// usage line that starts with its own name.
func TestTree(t *testing.T) {
	t.Parallel()
	c := &cli{}
	var visit func(path string, command *ffcli.Command)
	visit = func(path string, command *ffcli.Command) {
		if command.FlagSet == nil {
			t.Errorf("%s has no flag set: its errors would print and exit", path)
			return
		}
		if !strings.HasPrefix(command.ShortUsage, path) {
			t.Errorf("%s: usage is %q", path, command.ShortUsage)
		}
		leaf := len(command.Subcommands) == 0
		if leaf && command.Exec == nil {
			t.Errorf("%s does nothing", path)
		}
		isExample := command.Name == "demo"
		if leaf && !isExample && command.ShortHelp != "" && !strings.Contains(command.LongHelp, "EXAMPLE\n  ") {
			t.Errorf("%s has no example", path)
		}
		for _, sub := range command.Subcommands {
			visit(path+" "+sub.Name, sub)
		}
	}
	visit("poppobuilder", c.root())
}
