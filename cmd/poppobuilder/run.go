package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

func (c *cli) runCommand() *ffcli.Command {
	return &ffcli.Command{
		Name:       "run",
		ShortUsage: "poppobuilder run show|logs|retry ...",
		ShortHelp:  "look at one run or its output, or run it again",
		FlagSet:    newFlagSet("run"),
		Subcommands: []*ffcli.Command{
			c.runShowCommand(),
			c.runLogsCommand(),
			c.runRetryCommand(),
		},
	}
}

func (c *cli) runShowCommand() *ffcli.Command {
	fs := newFlagSet("show")
	watch := watchFlag(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "show",
		ShortUsage: "poppobuilder run show RUN [--watch] [--json]",
		ShortHelp:  "show all that is known of a run; needs the daemon",
		LongHelp: `RUN is an id as "project runs" lists it.

EXAMPLE
  poppobuilder run show 01hq5c8d2f7z`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "RUN"); err != nil {
				return err
			}
			return c.withDaemon(func(daemon *api.Client) error {
				return c.watch(ctx, *watch, func(ctx context.Context) error {
					run, err := daemon.Run(ctx, args[0])
					if err != nil {
						return err
					}
					if c.json {
						return c.printJSON(run)
					}
					return c.table(func(w io.Writer) { writeRun(w, run) })
				})
			})
		},
	}
}

// writeRun writes one field a line.
func writeRun(w io.Writer, run runs.Run) {
	field := func(name, format string, args ...any) { fmt.Fprintf(w, name+":\t"+format+"\n", args...) }
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			field(name, "%s", t.Local().Format(time.DateTime))
		}
	}
	field("ID", "%s", run.ID)
	field("Project", "%s", run.Project)
	field("State", "%s", run.State)
	field("Reason", "%s", run.Reason)
	field("Attempt", "%d (%d failed before)", run.Attempt, run.Failures)
	if run.Origin != run.ID {
		field("First attempt", "%s", run.Origin)
	}
	if len(run.Args) > 0 {
		field("Arguments", "%s", shellWords(run.Args))
	}
	at("Queued", run.QueuedAt)
	at("Not before", run.NotBefore)
	at("Started", run.StartedAt)
	at("Finished", run.FinishedAt)
	if run.Worker != nil {
		field("Worker", "%d", *run.Worker)
	}
	if run.PID != 0 {
		field("PID", "%d", run.PID)
	}
	if how := exitText(run); how != "" {
		field("Exit", "%s", how)
	}
	if run.State.Final() && !run.StartedAt.IsZero() {
		ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
		field("Used", "%v user, %v system, %.1f MiB", ms(run.UserMS), ms(run.SystemMS), float64(run.MaxRSSBytes)/(1<<20))
	}
	if run.LostLines > 0 {
		field("Lost", "%d lines of output", run.LostLines)
	}
}

func (c *cli) runRetryCommand() *ffcli.Command {
	fs := newFlagSet("retry")
	flags := newWaitFlags(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "retry",
		ShortUsage: "poppobuilder run retry RUN [--wait] [--follow] [--json]",
		ShortHelp:  "ask for a run like one that has ended; needs the daemon",
		LongHelp: `The new run gets the arguments of the old one. Its attempts are counted anew.

` + waitHelp + `
EXAMPLE
  poppobuilder run retry 01hq5c8d2f7z --wait`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "RUN"); err != nil {
				return err
			}
			return c.ask(ctx, flags, func(daemon *api.Client) (runs.Run, error) { return daemon.RetryRun(ctx, args[0]) })
		},
	}
}
