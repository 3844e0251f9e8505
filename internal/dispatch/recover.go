package dispatch

import (
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// recall returns, the first time, the runs that an earlier daemon has left
// unfinished, by project.
func (d *Dispatcher) recall() (first bool, left map[string][]runs.Run) {
	if d.recalled {
		return false, nil
	}
	d.recalled = true
	left = make(map[string][]runs.Run)
	for _, run := range d.store.Unfinished() {
		left[run.Project] = append(left[run.Project], run)
	}
	return true, left
}

// takeOver gives a new lane what an earlier daemon has left of its project: the
// runs that wait go on waiting, one that was cut short is tried again, and else
// the project is due its interval after its last run.
func (d *Dispatcher) takeOver(l *lane, left []runs.Run) {
	if last, ok := d.store.Last(l.project.ID); ok {
		l.last, l.lastEnd = &last, earlier(last.FinishedAt, time.Now())
		l.due = d.dueAtEnd(l)
	}
	for _, run := range left {
		if run.State == runs.Queued {
			// A clock that was set back must not make it wait.
			run.NotBefore = earlier(run.NotBefore, time.Now().Add(max(d.delay(l), maxRetryDelay)))
			l.queue = append(l.queue, run)
			continue
		}
		d.endCutShort(l, run)
	}
	if len(l.queue) > 0 {
		l.due = time.Time{}
	}
}

// endCutShort ends a run that executed when an earlier daemon died.
func (d *Dispatcher) endCutShort(l *lane, run runs.Run) {
	now := time.Now()
	next := d.next(l, run, runs.Interrupted, now)
	if next != nil {
		// The first time it is not suspected of having been the cause.
		next.NotBefore = time.Time{}
		if run.Attempt > 1 {
			next.NotBefore = now.Add(retryDelay(d.delay(l), run.Attempt-1))
		}
	}
	exit := runs.Exit{Error: "the daemon ended while the run executed"}
	ended, queued, err := d.store.Finish(run.ID, runs.Interrupted, exit, next)
	if err != nil {
		d.log.Error("end run that was cut short", "project", run.Project, "run", run.ID, "error", err)
		return
	}
	l.last, l.lastEnd = &ended, now
	l.due = d.dueAtEnd(l)
	if queued != nil {
		l.queue = append(l.queue, *queued)
	}
	d.logEnd(ended, queued)
}

// endOrphans ends the runs of projects that are gone.
func (d *Dispatcher) endOrphans(left map[string][]runs.Run) {
	for _, orphans := range left {
		for _, run := range orphans {
			state := runs.Cancelled
			if run.State == runs.Running {
				state = runs.Interrupted
			}
			if ended, _, err := d.store.Finish(run.ID, state, runs.Exit{Error: "the project was removed"}, nil); err != nil {
				d.log.Error("end run of a project that is gone", "project", run.Project, "run", run.ID, "error", err)
			} else {
				d.logEnd(ended, nil)
			}
		}
	}
}

// earlier returns the earlier of two times: a clock that was set back must not
// make a project wait until it has caught up.
func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}
