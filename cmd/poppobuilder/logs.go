package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// logsFlags are the flags of the commands that print a log.
type logsFlags struct {
	follow bool
	lines  int
}

func newLogsFlags(fs *flag.FlagSet) *logsFlags {
	f := new(logsFlags)
	fs.BoolVar(&f.follow, "f", false, "go on with what is written from now on, until Ctrl-C")
	fs.IntVar(&f.lines, "n", 100, "begin with the last so many `lines`; -1: all")
	return f
}

func (c *cli) daemonLogsCommand() *ffcli.Command {
	fs := newFlagSet("logs")
	flags := newLogsFlags(fs)
	return &ffcli.Command{
		Name:       "logs",
		ShortUsage: "poppobuilder daemon logs [-f] [-n LINES]",
		ShortHelp:  "print the daemon's log",
		LongHelp: `EXAMPLE
  poppobuilder daemon logs -f`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			return c.followLog(ctx, home.DaemonLog, flags)
		},
	}
}

// followLog prints the log at path. Ctrl-C is how following it ends.
func (c *cli) followLog(ctx context.Context, path string, f *logsFlags) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if !f.follow {
			c.notef("There is no %s yet.", path)
			return nil
		}
		c.notef("There is no %s yet; waiting for it.", path)
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return logs.Follow(ctx, c.Stdout, path, logs.FollowOptions{Lines: f.lines, Follow: f.follow})
}
