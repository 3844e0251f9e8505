package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

func (c *cli) runLogsCommand() *ffcli.Command {
	fs := newFlagSet("logs")
	follow := fs.Bool("f", false, "go on with what it writes, until it has ended; wait for it if it is queued")
	return &ffcli.Command{
		Name:       "logs",
		ShortUsage: "poppobuilder run logs RUN [-f]",
		ShortHelp:  "print what one run wrote; needs the daemon",
		LongHelp: `RUN is an id as "project runs" lists it.

EXAMPLE
  poppobuilder run logs 01hq5c8d2f7z -f`,
		FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := exactArgs(args, "RUN"); err != nil {
				return err
			}
			return c.withDaemon(func(daemon *api.Client) error {
				if !*follow {
					return c.printRunLog(ctx, daemon, args[0])
				}
				ctx, stop := interruptible(ctx)
				defer stop()
				_, err := c.followRun(ctx, daemon, c.Stdout, args[0])
				if ctx.Err() != nil {
					return nil // Ctrl-C is how following ends
				}
				return err
			})
		},
	}
}

// printRunLog prints what a run has written so far.
func (c *cli) printRunLog(ctx context.Context, daemon *api.Client, id string) error {
	run, err := daemon.Run(ctx, id)
	if err != nil {
		return err
	}
	path, err := c.runLog(run)
	if err != nil {
		return err
	}
	// If it runs after this was the end of the log, all up to there is from it.
	end, err := logs.End(path)
	if err != nil {
		return err
	}
	if run, err = daemon.Run(ctx, id); err != nil {
		return err
	}
	switch {
	case run.State == runs.Queued:
		return failf(codeFailed, exitFailure, "run %s has not started yet; \"poppobuilder run logs -f %s\" waits for it", id, id)
	case run.State == runs.Running && run.Log != nil:
		_, err = logs.Copy(c.Stdout, path, run.Log.From, &end)
		return explainRemoved(run, err)
	default:
		return c.printEnded(ctx, daemon, c.Stdout, run)
	}
}

// printEnded prints what a run that has ended has written.
func (c *cli) printEnded(ctx context.Context, daemon *api.Client, w io.Writer, run runs.Run) error {
	if run.Log == nil {
		return unknownLog(run)
	}
	path, err := c.runLog(run)
	if err != nil {
		return err
	}
	to, err := logEnd(ctx, daemon, path, run)
	if err != nil {
		return err
	}
	_, err = logs.Copy(w, path, run.Log.From, to)
	return explainRemoved(run, err)
}

// followRun prints what a run writes until it has ended, and returns it as it is
// then. Before it starts, followRun waits for it.
func (c *cli) followRun(ctx context.Context, daemon *api.Client, w io.Writer, id string) (runs.Run, error) {
	run, err := daemon.AwaitRun(ctx, id, runs.UntilStarted)
	switch {
	case err != nil:
		return run, err
	case run.State.Final():
		return run, c.printEnded(ctx, daemon, w, run)
	case run.Log == nil:
		if run, err = daemon.AwaitRun(ctx, id, runs.UntilEnded); err != nil {
			return run, err
		}
		return run, c.printEnded(ctx, daemon, w, run)
	}
	path, err := c.runLog(run)
	if err != nil {
		return run, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	end := make(chan *logs.Position, 1)
	awaited := make(chan error, 1)
	var ended runs.Run
	go func() {
		var err error
		var to *logs.Position
		if ended, err = daemon.AwaitRun(ctx, id, runs.UntilEnded); err == nil {
			to, err = logEnd(ctx, daemon, path, ended)
		}
		end <- to
		awaited <- err
	}()
	_, err = logs.FollowStretch(ctx, w, path, logs.Stretch{From: run.Log.From, Ended: end, Alone: stillRuns(ctx, daemon, id)})
	if err != nil && !errors.Is(err, logs.ErrRemoved) {
		stop()
	}
	if failed := <-awaited; failed != nil && (err == nil || ctx.Err() == nil) {
		return run, failed
	}
	return ended, explainRemoved(run, err)
}

// askEvery is how often the daemon is asked whether a run that writes a lot
// still runs.
const askEvery = 100 * time.Millisecond

// stillRuns asks the daemon whether a run has not ended, so that what is in its
// project's log is from no later one.
func stillRuns(ctx context.Context, daemon *api.Client, id string) func() bool {
	var last time.Time
	return func() bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Until(last.Add(askEvery))):
		}
		last = time.Now()
		run, err := daemon.Run(ctx, id)
		return err == nil && !run.State.Final()
	}
}

// logEnd returns where the output of a run that has ended ends. If its worker
// died and could not tell, that is where the project's next run began or, as long
// as none has, the end of the log.
func logEnd(ctx context.Context, daemon *api.Client, path string, run runs.Run) (*logs.Position, error) {
	if run.Log.To != nil {
		return run.Log.To, nil
	}
	end, err := logs.End(path) // before the question whether another one writes
	if err != nil {
		return nil, err
	}
	list, err := daemon.Runs(ctx, api.RunFilter{Project: run.Project, Limit: api.MaxRunLimit})
	if err != nil {
		return nil, err
	}
	var next *runs.Run
	for i, other := range list {
		if other.StartedAt.After(run.StartedAt) && (next == nil || other.StartedAt.Before(next.StartedAt)) {
			next = &list[i]
		}
	}
	if next == nil {
		return &end, nil
	}
	if next.Log == nil { // its worker is about to tell
		if *next, err = daemon.AwaitRun(ctx, next.ID, runs.UntilStarted); err != nil {
			return nil, err
		}
	}
	if next.Log == nil {
		return &end, nil
	}
	return &next.Log.From, nil
}

// runLog is the path of the log that has a run's output.
func (c *cli) runLog(run runs.Run) (string, error) {
	home, err := c.home()
	return home.ProjectLog(run.Project), err
}

// unknownLog says why there is nothing to print of a run that has ended or runs.
func unknownLog(run runs.Run) error {
	if run.StartedAt.IsZero() {
		return failf(codeFailed, exitFailure, "run %s has written nothing: it was %s before it started", run.ID, run.State)
	}
	return failf(codeFailed, exitFailure, "it is not known what of the log is from run %s: its worker did not say, or could not; \"poppobuilder project logs %s\" has the output of all runs", run.ID, run.Project)
}

// explainRemoved says what an incomplete output means.
func explainRemoved(run runs.Run, err error) error {
	if errors.Is(err, logs.ErrRemoved) {
		return failf(codeFailed, exitFailure, "the output of run %s, or a part of it, is gone: the limits of logs (logging.maxFiles, logging.maxAge) have removed it", run.ID)
	}
	return err
}
