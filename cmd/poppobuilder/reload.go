package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

func (c *cli) reloadCommand() *ffcli.Command {
	fs := newFlagSet("reload")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "reload",
		ShortUsage: "poppobuilder daemon reload [--json]",
		ShortHelp:  "let the daemon read its settings and projects again",
		LongHelp: `Invalid settings change nothing: the daemon runs on with those that it has.

EXAMPLE
  poppobuilder daemon reload`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.reload(ctx)
		},
	}
}

func (c *cli) reload(ctx context.Context) error {
	daemon, err := c.running()
	if err != nil {
		return err
	}
	defer daemon.Close()
	done, err := daemon.Reload(ctx)
	if err != nil {
		return fmt.Errorf("nothing was reloaded: %w", err)
	}
	if c.json {
		return c.printJSON(done)
	}
	changes := false
	for _, part := range []struct {
		what string
		ids  []string
	}{
		{"Changed", done.Changed},
		{"Needs a restart (poppobuilder daemon restart)", done.RestartNeeded},
		{"Projects added", done.Projects.Added},
		{"Projects changed", done.Projects.Changed},
		{"Projects removed", done.Projects.Removed},
	} {
		if len(part.ids) > 0 {
			changes = true
			c.printf("%s: %s\n", part.what, strings.Join(part.ids, ", "))
		}
	}
	if !changes {
		c.printf("Reloaded: nothing has changed\n")
	}
	return nil
}
