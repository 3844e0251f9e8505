package main

import (
	"context"
	"flag"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// waitFlags are the flags of commands that ask for a run.
type waitFlags struct{ wait, follow bool }

func newWaitFlags(fs *flag.FlagSet) *waitFlags {
	f := new(waitFlags)
	fs.BoolVar(&f.wait, "wait", false, "wait until the run has ended; its exit code is then the command's")
	fs.BoolVar(&f.follow, "follow", false, "wait, and print what the run writes")
	return f
}

// waitHelp explains the exit codes of --wait.
const waitHelp = `With --wait the exit code is the run's: its own, 128 and the signal's number
if a signal ended it, 124 if it timed out, 125 if it was cancelled, 127 if it
could not start. A run that is cut short and taken up again is waited for to its
end; one that failed is not, though it may be tried again.
With --follow, too; the output of the run goes to the standard output (to the
standard error with --json), how it ended to the standard error.
`

func (c *cli) projectRunCommand() *ffcli.Command {
	fs := newFlagSet("run")
	flags := newWaitFlags(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "run",
		ShortUsage: "poppobuilder project run ID [--wait] [--follow] [--json] [-- ARG...]",
		ShortHelp:  "ask for a run now; needs the daemon",
		LongHelp: `A run with the same arguments that is queued already is the one you get. What
stands behind "--" follows the project's command, in this run only.

` + waitHelp + `
EXAMPLE
  poppobuilder project run shop --wait
  poppobuilder project run shop --follow -- --issue 17`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			own, extra := splitCommand(args)
			if err := exactArgs(own, "ID"); err != nil {
				return err
			}
			return c.ask(ctx, flags, func(daemon *api.Client) (runs.Run, error) {
				run, err := daemon.RunProject(ctx, own[0], extra...)
				if err != nil {
					err = c.explainUnknown(own[0], err)
				}
				return run, err
			})
		},
	}
}

// ask has the daemon queue a run, and waits for it if it is to.
func (c *cli) ask(ctx context.Context, flags *waitFlags, queue func(*api.Client) (runs.Run, error)) error {
	return c.withDaemon(func(daemon *api.Client) error {
		run, err := queue(daemon)
		if err != nil {
			return err
		}
		if !flags.wait && !flags.follow {
			return c.result(run, "Run %s of %s is %s", run.ID, run.Project, run.State)
		}
		return c.awaitRun(ctx, daemon, run, flags.follow)
	})
}
