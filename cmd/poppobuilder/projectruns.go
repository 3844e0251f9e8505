package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

func (c *cli) projectCancelCommand() *ffcli.Command {
	fs := newFlagSet("cancel")
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "cancel",
		ShortUsage: "poppobuilder project cancel ID [--json]",
		ShortHelp:  "stop a project's run and wait until it has ended; needs the daemon",
		LongHelp: `EXAMPLE
  poppobuilder project cancel shop`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "ID"); err != nil {
				return err
			}
			ctx, stop := interruptible(ctx)
			defer stop()
			return c.withDaemon(func(daemon *api.Client) error {
				run, err := daemon.CancelProject(ctx, args[0])
				if ctx.Err() != nil {
					return failf(codeInterrupted, exitInterrupted, "interrupted; the run goes on stopping")
				}
				if err != nil {
					return c.explainUnknown(args[0], err)
				}
				return c.result(run, "Run %s of %s is %s", run.ID, run.Project, run.State)
			})
		},
	}
}

func (c *cli) projectRunsCommand() *ffcli.Command {
	fs := newFlagSet("runs")
	limit := fs.Int("limit", 20, "the newest so many")
	state := fs.String("state", "", "only those in this `state`: "+strings.Join(runStates(), ", "))
	watch := watchFlag(fs)
	c.jsonFlag(fs)
	return &ffcli.Command{
		Name:       "runs",
		ShortUsage: "poppobuilder project runs [ID] [--limit N] [--state STATE] [--watch] [--json]",
		ShortHelp:  "list runs, the newest first; needs the daemon",
		LongHelp: `EXAMPLE
  poppobuilder project runs shop --state failed`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			filter := api.RunFilter{State: runs.State(*state), Limit: *limit}
			if len(args) > 0 {
				filter.Project, args = args[0], args[1:]
			}
			if err := noArgs(args); err != nil {
				return err
			}
			if err := checkRunFilter(filter); err != nil {
				return err
			}
			return c.withDaemon(func(daemon *api.Client) error {
				return c.watch(ctx, *watch, func(ctx context.Context) error {
					list, err := daemon.Runs(ctx, filter)
					if err == nil && len(list) == 0 && filter.Project != "" {
						err = c.explainUnknown(filter.Project, nil)
					}
					if err != nil {
						return err
					}
					return c.showRuns(list)
				})
			})
		},
	}
}

// runStates lists the states that a run can be in.
func runStates() []string {
	return []string{
		string(runs.Queued), string(runs.Running), string(runs.Succeeded), string(runs.Failed),
		string(runs.TimedOut), string(runs.Cancelled), string(runs.Interrupted), string(runs.Preempted),
	}
}

func checkRunFilter(f api.RunFilter) error {
	if f.Limit < 1 || f.Limit > api.MaxRunLimit {
		return &usageError{problem: fmt.Sprintf("--limit %d is out of range: 1..%d", f.Limit, api.MaxRunLimit)}
	}
	if state := string(f.State); state != "" && !slices.Contains(runStates(), state) {
		return &usageError{problem: fmt.Sprintf("unknown state %q%s: one of %s", state, suggest(state, runStates()), strings.Join(runStates(), ", "))}
	}
	return nil
}

// showRuns prints runs.
func (c *cli) showRuns(list []runs.Run) error {
	if c.json {
		if list == nil {
			list = []runs.Run{}
		}
		return c.printJSON(list)
	}
	if len(list) == 0 {
		c.notef("There are no such runs.")
		return nil
	}
	return c.table(func(w io.Writer) {
		fmt.Fprintf(w, "RUN\tPROJECT\tSTATE\tATTEMPT\tREASON\tSTARTED\tTOOK\tEXIT\n")
		for _, run := range list {
			started, took := "-", "-"
			if !run.StartedAt.IsZero() {
				started = run.StartedAt.Local().Format(time.DateTime)
			}
			if !run.StartedAt.IsZero() && !run.FinishedAt.IsZero() {
				took = roundDuration(run.FinishedAt.Sub(run.StartedAt)).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", run.ID, run.Project, run.State, run.Attempt, run.Reason, started, took, exitText(run))
		}
	})
}

// exitText says how a run ended, in a few words.
func exitText(run runs.Run) string {
	var parts []string
	if run.ExitCode != nil {
		parts = append(parts, fmt.Sprintf("exit code %d", *run.ExitCode))
	}
	if run.Signal != "" {
		parts = append(parts, run.Signal)
	}
	if run.Error != "" {
		parts = append(parts, run.Error)
	}
	return strings.Join(parts, ", ")
}

// explainUnknown returns the registry's error for a project that it does not
// have, which suggests the nearest one, or else err.
func (c *cli) explainUnknown(id string, err error) error {
	if err != nil && !errors.Is(err, project.ErrNotFound) {
		return err
	}
	home, homeErr := c.home()
	if homeErr != nil {
		return err
	}
	registry, loadErr := project.Store{Path: home.Projects}.Load()
	if loadErr != nil {
		return err
	}
	if _, unknown := registry.Get(id); unknown != nil {
		return unknown
	}
	return err
}

// withDaemon calls do with a client of the running daemon.
func (c *cli) withDaemon(do func(*api.Client) error) error {
	daemon, err := c.running()
	if err != nil {
		return err
	}
	defer daemon.Close()
	err = do(daemon)
	if errors.Is(err, api.ErrNotRunning) {
		return notRunning()
	}
	return err
}

func (c *cli) projectLogsCommand() *ffcli.Command {
	fs := newFlagSet("logs")
	flags := newLogsFlags(fs)
	return &ffcli.Command{
		Name:       "logs",
		ShortUsage: "poppobuilder project logs ID [-f] [-n LINES]",
		ShortHelp:  "print what a project's runs wrote",
		LongHelp: `EXAMPLE
  poppobuilder project logs shop -f`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "ID"); err != nil {
				return err
			}
			home, err := c.home()
			if err != nil {
				return err
			}
			registry, err := project.Store{Path: home.Projects}.Load()
			if err != nil {
				return err
			}
			if _, err := registry.Get(args[0]); err != nil {
				return err
			}
			return c.followLog(ctx, home.ProjectLog(args[0]), flags)
		},
	}
}

// sortedKeys returns the keys of m in order.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
