package runs

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A change takes a run from one state to the next, or says why it cannot.
// These are all that there are.
type change func(run *Run, now time.Time) error

func expedite(run *Run, _ time.Time) error {
	if run.State != Queued {
		return transitionError(run, Queued)
	}
	run.NotBefore, run.ByHand = time.Time{}, true
	return nil
}

func claim(worker int) change {
	return func(run *Run, now time.Time) error {
		if run.State != Queued {
			return transitionError(run, Running)
		}
		run.State, run.StartedAt, run.Worker = Running, whole(now), &worker
		return nil
	}
}

func started(pid int, log *LogRange) change {
	return func(run *Run, _ time.Time) error {
		if run.State != Running {
			return transitionError(run, Running)
		}
		run.PID, run.Log = pid, log
		return nil
	}
}

func finish(state State, exit Exit) change {
	return func(run *Run, now time.Time) error {
		switch {
		case run.State.Final(), !state.Final():
			return transitionError(run, state)
		case run.State == Queued && state != Cancelled:
			return transitionError(run, state)
		}
		exit.Log = cmp.Or(exit.Log, run.Log)
		run.State, run.FinishedAt, run.Exit = state, whole(now), exit
		return nil
	}
}

// newRun makes the queued run that r asks for.
func (s *idSource) newRun(r Request, now time.Time) *Run {
	run := &Run{
		ID:        s.next(now),
		Project:   r.Project,
		Origin:    r.Origin,
		Attempt:   max(r.Attempt, 1),
		Failures:  r.Failures,
		Reason:    r.Reason,
		ByHand:    r.ByHand || r.Reason == Manual,
		State:     Queued,
		Args:      slices.Clone(r.Args),
		QueuedAt:  whole(now),
		NotBefore: whole(r.NotBefore),
	}
	run.Origin = cmp.Or(run.Origin, run.ID)
	return run
}

// whole returns t as a file keeps it: without the reading of a clock that only
// this process has.
func whole(t time.Time) time.Time { return t.Round(0) }

// selects reports whether run is one of those that f selects.
func (f Filter) selects(run *Run) bool {
	return (f.Project == "" || run.Project == f.Project) && (f.State == "" || run.State == f.State)
}

func notFound(id string) error { return fmt.Errorf("run %s: %w", id, ErrNotFound) }

func transitionError(run *Run, to State) error {
	return fmt.Errorf("run %s from %s to %s: %w", run.ID, run.State, to, ErrTransition)
}
