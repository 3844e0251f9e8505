package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func (c *cli) helpCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "help",
		ShortUsage: "poppobuilder help [COMMAND...]",
		ShortHelp:  "explain a command",
		LongHelp: `EXAMPLE
  poppobuilder help project add`,
		FlagSet: newFlagSet("help"),
		Exec: func(_ context.Context, args []string) error {
			path := []*ffcli.Command{c.root()}
			for _, name := range args {
				at := path[len(path)-1]
				next := subcommand(at, name)
				if next == nil {
					return unknownCommand(at, name)
				}
				path = append(path, next)
			}
			c.printf("%s", help(path))
			return nil
		},
	}
}

// help explains the last command of path.
func help(path []*ffcli.Command) string {
	command := path[len(path)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUSAGE\n  %s\n", title(command), command.ShortUsage)
	if len(command.Subcommands) > 0 {
		b.WriteString("\nCOMMANDS\n")
		tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, sub := range command.Subcommands {
			if sub.ShortHelp != "" {
				fmt.Fprintf(tw, "  %s\t%s\n", sub.Name, sub.ShortHelp)
			}
		}
		tw.Flush()
	}
	writeFlags(&b, command.FlagSet)
	if command.LongHelp != "" {
		fmt.Fprintf(&b, "\n%s\n", command.LongHelp)
	}
	return b.String()
}

// title is the command's one line, as a sentence without a full stop.
func title(command *ffcli.Command) string {
	if command.ShortHelp == "" {
		return command.Name
	}
	return strings.ToUpper(command.ShortHelp[:1]) + command.ShortHelp[1:]
}

// writeFlags lists the flags of fs with their defaults.
func writeFlags(w io.Writer, fs *flag.FlagSet) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		if first {
			fmt.Fprint(tw, "\nFLAGS\n")
			first = false
		}
		value, usage := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(tw, "  %s\t%s\n", strings.TrimSpace("--"+f.Name+" "+value), usage)
	})
	tw.Flush()
}
