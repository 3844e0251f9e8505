package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/keeper"
)

// keeperCommand is the process that outlives a killed daemon for a moment. Only
// the daemon starts it.
func (c *cli) keeperCommand() *ffcli.Command {
	fs := newFlagSet("keeper")
	lock := fs.String("lock", "", "lock `file` to hold for as long as it runs")
	presence := fs.String("presence", "", "lock `file` that the built-in workers hold")
	cgroup := fs.String("cgroup", "", "`directory` of the cgroup that holds all workers; empty: none does")
	return &ffcli.Command{
		Name:       "keeper",
		ShortUsage: "poppobuilder keeper --lock FILE --presence FILE [--cgroup DIR]",
		FlagSet:    fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *lock == "" || *presence == "" {
				return &usageError{problem: "a keeper is started by the daemon only: run \"poppobuilder daemon start\""}
			}
			// It ends with the daemon and not before, however many processes
			// of this name somebody signals; and nobody need read what it says.
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
			return keeper.Run(ctx, c.Stdin, keeper.Options{Lock: *lock, Presence: *presence, Cgroup: *cgroup, Ready: c.Stdout, Log: c.Stderr})
		},
	}
}
