package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// Exit codes of a command that waited for a run, where the run's own does not
// say all. They are those of timeout(1), env(1) and shells.
const (
	exitTimedOut  = 124
	exitCancelled = 125
	exitNoCommand = 127
	exitSignal    = 128 // and the signal's number
)

// awaitRun waits until a run has ended, says how, and exits like it.
func (c *cli) awaitRun(ctx context.Context, daemon *api.Client, run runs.Run, follow bool) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	ended, err := c.awaitEnd(ctx, daemon, run, follow)
	switch {
	case ctx.Err() != nil:
		return failf(codeInterrupted, exitInterrupted,
			"interrupted; run %s goes on: \"poppobuilder project cancel %s\" stops it", run.ID, run.Project)
	case errors.Is(err, api.ErrNotRunning), isStopping(err):
		return failf(codeNotRunning, exitFailure,
			"the daemon stops, and run %s has not ended: at the next start it is taken up again, if it was cut short", run.ID)
	case err != nil:
		return fmt.Errorf("wait for run %s: %w", run.ID, err)
	}
	if c.json {
		err = c.printJSON(ended)
	} else {
		c.notef("%s", runResult(ended))
	}
	if code := runExit(ended); err == nil && code != 0 {
		return statusExit(code)
	}
	return err
}

// awaitEnd returns the run when it has ended, and shows meanwhile what there is
// to see.
func (c *cli) awaitEnd(ctx context.Context, daemon *api.Client, run runs.Run, follow bool) (runs.Run, error) {
	if !follow {
		return c.awaitUntil(ctx, daemon, run, runs.UntilOver)
	}
	out := c.Stdout
	if c.json {
		out = c.Stderr // the other is for the result
	}
	for {
		if _, err := c.awaitUntil(ctx, daemon, run, runs.UntilStarted); err != nil {
			return run, err
		}
		ended, err := c.followRun(ctx, daemon, out, run.ID)
		if incomplete, ok := errors.AsType[*failure](err); ok {
			c.notef("%v", incomplete)
			err = nil
		}
		if err != nil {
			return ended, err
		}
		next, err := takenUp(ctx, daemon, ended)
		if err != nil || next == nil {
			return ended, err
		}
		c.notef("%s; goes on as run %s", runResult(ended), next.ID)
		run = *next
	}
}

// awaitUntil waits for a run, and shows on a terminal how it is.
func (c *cli) awaitUntil(ctx context.Context, daemon *api.Client, run runs.Run, until runs.Until) (runs.Run, error) {
	if !c.json && isTerminal(c.Stderr) {
		watching, stop := context.WithCancel(ctx)
		var below sync.WaitGroup
		below.Go(func() { c.showProgress(watching, daemon, run) })
		defer func() { stop(); below.Wait() }()
	}
	return daemon.AwaitRun(ctx, run.ID, until)
}

// takenUp returns the run that takes up one that was cut short, nil if none does.
func takenUp(ctx context.Context, daemon *api.Client, ended runs.Run) (next *runs.Run, err error) {
	if ended.State != runs.Interrupted && ended.State != runs.Preempted {
		return nil, nil
	}
	list, err := daemon.Runs(ctx, api.RunFilter{Project: ended.Project, Limit: api.MaxRunLimit})
	for i, run := range list { // the newest first
		if run.Origin == ended.Origin && run.ID > ended.ID {
			next = &list[i]
		}
	}
	return next, err
}

// showProgress keeps one line on the terminal up to date.
func (c *cli) showProgress(ctx context.Context, daemon *api.Client, run runs.Run) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer fmt.Fprint(c.Stderr, "\r\x1b[K")
	for {
		projects, err := daemon.Projects(ctx)
		if err == nil {
			fmt.Fprintf(c.Stderr, "\r\x1b[K%s", progress(projects, run, time.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// progress says what a run that is waited for is doing, or what it waits for.
func progress(projects []api.Project, run runs.Run, now time.Time) string {
	var busy []string
	queued := 0
	for _, p := range projects {
		switch {
		case p.ID == run.Project && p.State == api.ProjectRunning && p.Run == run.ID:
			return fmt.Sprintf("run %s of %s is running, asked for %s ago", run.ID, run.Project, roundDuration(now.Sub(run.QueuedAt)))
		case p.State == api.ProjectRunning:
			busy = append(busy, p.ID)
		case p.State == api.ProjectQueued && p.ID != run.Project:
			queued++
		}
	}
	text := fmt.Sprintf("run %s of %s has waited for %s", run.ID, run.Project, roundDuration(now.Sub(run.QueuedAt)))
	if len(busy) > 0 {
		text += "; running: " + strings.Join(busy, ", ")
	}
	switch queued {
	case 0:
	case 1:
		text += "; 1 other project waits"
	default:
		text += fmt.Sprintf("; %d other projects wait", queued)
	}
	return text
}

// runResult says how a run ended.
func runResult(run runs.Run) string {
	text := fmt.Sprintf("Run %s of %s: %s", run.ID, run.Project, run.State)
	if how := exitText(run); how != "" {
		text += " (" + how + ")"
	}
	if !run.StartedAt.IsZero() && !run.FinishedAt.IsZero() {
		text += fmt.Sprintf(" after %s", roundDuration(run.FinishedAt.Sub(run.StartedAt)))
	}
	return text
}

// runExit is the exit code of a command that waited for a run.
func runExit(run runs.Run) int {
	switch {
	case run.State == runs.Succeeded:
		return exitOK
	case run.State == runs.TimedOut:
		return exitTimedOut
	case run.State == runs.Cancelled:
		return exitCancelled
	case run.ExitCode != nil && *run.ExitCode != 0:
		return *run.ExitCode
	case run.Signal != "":
		return exitSignal + int(unix.SignalNum(run.Signal))
	case run.State == runs.Failed && run.ExitCode == nil:
		return exitNoCommand
	default:
		return exitFailure
	}
}

// isStopping reports whether the daemon has given up answering because it stops.
func isStopping(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && (p.Code == api.CodeStopping || p.Code == api.CodeTimeout)
}
