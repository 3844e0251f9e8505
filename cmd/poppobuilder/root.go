package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// root builds the command tree. A command without ShortHelp is hidden.
func (c *cli) root() *ffcli.Command {
	return &ffcli.Command{
		Name:       "poppobuilder",
		ShortUsage: "poppobuilder COMMAND ...",
		ShortHelp:  "run the agents of many projects in one small pool of workers",
		LongHelp: `Files are kept in ~/.poppobuilder, or where POPPOBUILDER_HOME says.

Exit codes: 0 done, 1 failure, 2 usage, 4 no privilege, 6 not configured,
7 not running; "daemon status" has its own: see its help.

EXAMPLE
  poppobuilder project add ~/src/shop --interval 10m -- ./agent --once
  poppobuilder daemon start`,
		FlagSet: newFlagSet("poppobuilder"),
		Subcommands: []*ffcli.Command{
			c.daemonCommand(),
			c.projectCommand(),
			c.runCommand(),
			c.globalConfigCommand(),
			c.demoCommand(),
			c.completionCommand(),
			c.versionCommand(),
			c.helpCommand(),
			c.workerCommand(),
			c.keeperCommand(),
			c.completeCommand(),
		},
	}
}

// newFlagSet returns a flag set that leaves all printing to report.
func newFlagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// jsonFlag gives a command that prints data its --json.
func (c *cli) jsonFlag(fs *flag.FlagSet) {
	fs.BoolVar(&c.json, "json", c.json, "print JSON, also for an error")
	fs.Lookup("json").DefValue = "false" // c.json may be set already: see wantsJSON
}

// execute finds the command that args name, parses its flags and runs it.
func (c *cli) execute(ctx context.Context, args []string) error {
	root := c.root()
	path, rest, err := route(root, args)
	if err == nil {
		rest, err = intersperse(path[len(path)-1].FlagSet, rest)
	}
	if errors.Is(err, flag.ErrHelp) {
		c.printf("%s", help(path))
		return nil
	}
	var names []string
	for _, command := range path[1:] {
		names = append(names, command.Name)
	}
	if err == nil {
		if err = root.Parse(append(names, rest...)); err != nil {
			err = flagError(err)
		}
	}
	if err == nil {
		err = root.Run(ctx)
	}
	if usage, ok := errors.AsType[*usageError](err); ok && usage.usage == "" {
		usage.usage = path[len(path)-1].ShortUsage
	}
	return err
}

// route walks from root down to the command that args name. It returns the way
// there, and what args has left for that command: flags that stand before a
// name belong to the command in the end.
func route(root *ffcli.Command, args []string) (path []*ffcli.Command, rest []string, err error) {
	path = []*ffcli.Command{root}
	for at := root; len(at.Subcommands) > 0; path = append(path, at) {
		var name string
		if name, args, err = nextName(args, &rest); err != nil {
			return path, nil, err
		}
		if at == root && name == "" && len(rest) > 0 && strings.TrimLeft(rest[0], "-") == "version" {
			name, rest = "version", nil
		}
		next := subcommand(at, name)
		if next == nil {
			if err := unknownFlag(at, rest); err != nil {
				return path, nil, err
			}
		}
		switch {
		case name == "":
			return path, nil, &usageError{problem: fmt.Sprintf("%s needs a command: one of %s", at.Name, strings.Join(visible(at), ", "))}
		case next == nil:
			return path, nil, unknownCommand(at, name)
		}
		at = next
	}
	return path, append(rest, args...), nil
}

// unknownFlag is the error for the first of flags that neither at nor a command
// below it has, or nil.
func unknownFlag(at *ffcli.Command, flags []string) error {
	known := append(flagsBelow(at), "--version")
	for _, arg := range flags {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name = "--" + name; !slices.Contains(known, name) {
			return &usageError{problem: fmt.Sprintf("unknown flag %q%s", name, suggest(name, known))}
		}
	}
	return nil
}

// flagsBelow returns the flags of at and of all commands below it.
func flagsBelow(at *ffcli.Command) []string {
	names := flagNames(at.FlagSet)
	for _, sub := range at.Subcommands {
		names = append(names, flagsBelow(sub)...)
	}
	return names
}

// unknownCommand is the error for a name that parent does not have. Where it is
// a command one step further down, that one is meant.
func unknownCommand(parent *ffcli.Command, name string) error {
	var below []string
	for _, sub := range parent.Subcommands {
		if subcommand(sub, name) != nil {
			below = append(below, strconv.Quote(sub.Name+" "+name))
		}
	}
	next := suggest(name, visible(parent))
	if len(below) > 0 {
		next = fmt.Sprintf("; did you mean %s?", strings.Join(below, " or "))
	}
	if next == "" {
		next = ": use one of " + strings.Join(visible(parent), ", ")
	}
	return &usageError{problem: fmt.Sprintf("unknown command %q%s", name, next)}
}

// nextName takes the next argument that is no flag from args, and puts the
// flags before it into flags.
func nextName(args []string, flags *[]string) (name string, rest []string, err error) {
	for i, arg := range args {
		switch arg {
		case "-h", "-help", "--help":
			return "", nil, flag.ErrHelp
		case "--":
			return "", nil, nil
		}
		if !looksLikeFlag(arg) {
			return arg, args[i+1:], nil
		}
		*flags = append(*flags, arg)
	}
	return "", nil, nil
}

// subcommand returns the command called name below parent, or nil.
func subcommand(parent *ffcli.Command, name string) *ffcli.Command {
	for _, command := range parent.Subcommands {
		if command.Name == name {
			return command
		}
	}
	return nil
}

// visible returns the names of the commands below parent that are not hidden.
func visible(parent *ffcli.Command) []string {
	var names []string
	for _, command := range parent.Subcommands {
		if command.ShortHelp != "" {
			names = append(names, command.Name)
		}
	}
	return names
}

// flagError makes a usage error of what package flag says, without what ff put
// in front of it, and with the flag's name as it is typed.
func flagError(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return &usageError{problem: strings.Replace(err.Error(), " for flag -", " for flag --", 1)}
}
