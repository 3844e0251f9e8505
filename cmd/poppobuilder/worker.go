package main

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// workerCommand is the built-in worker. Only the daemon starts it.
func (c *cli) workerCommand() *ffcli.Command {
	fs := newFlagSet("worker")
	heartbeat := fs.Duration("heartbeat", 0, "time between two heartbeats; 0: none")
	cgroups := fs.Bool("cgroups", false, "give each run with limits of memory or pids a cgroup, below this process's")
	presence := fs.String("presence", "", "lock `file` to hold for as long as it runs; empty: none")
	return &ffcli.Command{
		Name:       "worker",
		ShortUsage: "poppobuilder worker [--heartbeat DURATION] [--presence FILE] [--cgroups]",
		FlagSet:    fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			conn, err := ipc.FromEnv()
			if errors.Is(err, ipc.ErrNoChannel) {
				return &usageError{problem: "a worker is started by the daemon only: run \"poppobuilder daemon start\""}
			}
			if err != nil {
				return err
			}
			defer conn.Close()
			if *presence != "" {
				release, err := worker.Presence(*presence)
				if err != nil {
					return err
				}
				defer release()
			}
			options := worker.Options{Stderr: c.Stderr, Heartbeat: *heartbeat}
			if *cgroups {
				if options.Cgroups, err = procworker.OpenCgroups("runs"); err != nil {
					c.notef("Runs get no cgroup of their own: %v", err)
				}
			}
			options.ID, _ = strconv.Atoi(os.Getenv("POPPOBUILDER_WORKER_ID"))
			return worker.Run(ctx, conn, options)
		},
	}
}
