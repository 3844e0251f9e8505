package dispatch

import (
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

// maxRetryDelay bounds the delay between attempts, however often it doubled.
const maxRetryDelay = time.Hour

// A lane is what the dispatcher knows of a project.
//
//	            due, asked for                     chosen by the strategy
//	resting -------------------> queued, waiting ------------------------> active
//	   ^                                                                     |
//	   +---------------------------------------------------------------------+
//	                   the run ended, and nothing is tried again
type lane struct {
	project project.Project
	removed bool // no longer in the registry; goes when its run has ended

	queue   []runs.Run // queued runs, the oldest first
	waiting bool       // the strategy has it
	active  *active    // the run that executes
	due     time.Time  // when the interval is over; zero: not counting
	lastEnd time.Time
	renewed bool      // was added or enabled anew while its run executed: due when that has ended
	last    *runs.Run // the run that ended last

	alarm *time.Timer // fires when there may be something to do by the clock
}

// active is a run that a worker has.
type active struct {
	run        runs.Run
	worker     int
	generation uint64
	stop       string // why it was asked to stop: "cancelled", "timeout"; empty: it was not
	backstop   *time.Timer
	ended      []chan<- runs.Run // told when it is over
}

// ready returns the index of the first queued run that may start at now, or
// -1 and the time at which one may.
func (l *lane) ready(now time.Time) (int, time.Time) {
	var next time.Time
	for i, run := range l.queue {
		if !run.NotBefore.After(now) {
			return i, time.Time{}
		}
		if next.IsZero() || run.NotBefore.Before(next) {
			next = run.NotBefore
		}
	}
	return -1, next
}

// next returns the index of the first queued run that may start. The lane was
// waiting, so there is one.
func (l *lane) next(now time.Time) int {
	i, _ := l.ready(now)
	return max(i, 0) // the wall clock may have been set back since
}

// runnable reports whether new runs of the project may start.
func (l *lane) runnable() bool {
	return !l.removed && l.project.Enabled && l.project.Runnable() == nil
}

func (l *lane) item() schedule.Item {
	return schedule.Item{ID: l.project.ID, Priority: l.project.Config.Priority, Weight: l.project.Config.Weight}
}

// settle brings a lane in line with its state after any change: it queues the
// run that is due, enters the strategy or leaves it, and sets the alarm.
func (d *Dispatcher) settle(l *lane) {
	if l.alarm != nil {
		l.alarm.Stop()
		l.alarm = nil
	}
	if d.draining || l.active != nil || !l.runnable() {
		d.withdraw(l)
		d.dropIfGone(l)
		return
	}
	now := time.Now()
	if len(l.queue) == 0 && !l.due.IsZero() {
		if l.due = d.dueAt(l); l.due.After(now) {
			d.wakeAt(l, l.due)
			return
		}
		if !d.enqueue(l, runs.Request{Project: l.project.ID, Reason: runs.Schedule}) {
			d.wakeAt(l, now.Add(slack))
			return
		}
	}
	i, next := l.ready(now)
	switch {
	case i >= 0:
		d.strategy.Push(l.item()) // again, when it waits already: its share may have changed
		l.waiting = true
	default:
		d.withdraw(l)
		if !next.IsZero() {
			d.wakeAt(l, next)
		}
	}
}

// dueAt computes when a resting lane is due under the settings of now.
func (d *Dispatcher) dueAt(l *lane) time.Time {
	if l.lastEnd.IsZero() {
		return l.due
	}
	return l.lastEnd.Add(l.project.Config.Interval(d.settings.Interval))
}

func (d *Dispatcher) withdraw(l *lane) {
	if l.waiting {
		d.strategy.Remove(l.project.ID)
		l.waiting = false
	}
}

// wakeAt settles the lane again at t.
func (d *Dispatcher) wakeAt(l *lane, t time.Time) {
	l.alarm = time.AfterFunc(time.Until(t), func() {
		d.post(func() {
			if d.lanes[l.project.ID] == l {
				d.settle(l)
			}
		})
	})
}

// enqueue queues a run of the lane.
func (d *Dispatcher) enqueue(l *lane, r runs.Request) bool {
	run, err := d.store.Enqueue(r)
	if err != nil {
		d.log.Error("queue run", "project", r.Project, "error", err)
		return false
	}
	l.queue = append(l.queue, run)
	return true
}

// setProjects makes the lanes those of the projects.
func (d *Dispatcher) setProjects(projects []project.Project) {
	known := make(map[string]bool, len(projects))
	for _, p := range projects {
		known[p.ID] = true
		l := d.lanes[p.ID]
		if l == nil {
			l = &lane{due: time.Now()}
			d.lanes[p.ID] = l
		} else if p.Enabled && !l.project.Enabled || l.removed {
			l.due, l.lastEnd, l.renewed = time.Now(), time.Time{}, l.active != nil
		}
		l.project, l.removed = p, false
		if !p.Enabled {
			d.cancelQueued(l, "the project was disabled")
		}
		d.settle(l)
	}
	for id, l := range d.lanes {
		if known[id] || l.removed {
			continue
		}
		l.removed = true
		d.cancelQueued(l, "the project was removed")
		if l.active != nil {
			d.requestStop(l, "cancelled")
		}
		d.settle(l)
	}
}

// dropIfGone forgets a removed lane that has nothing left.
func (d *Dispatcher) dropIfGone(l *lane) {
	if l.removed && l.active == nil {
		delete(d.lanes, l.project.ID)
		d.strategy.Forget(l.project.ID)
	}
}

// cancelQueued ends the runs of a lane that wait.
func (d *Dispatcher) cancelQueued(l *lane, why string) {
	for _, run := range l.queue {
		if ended, _, err := d.store.Finish(run.ID, runs.Cancelled, runs.Exit{Error: why}, nil); err != nil {
			d.log.Error("cancel run", "project", l.project.ID, "run", run.ID, "error", err)
		} else {
			l.last = &ended
		}
	}
	l.queue = nil
	d.withdraw(l)
}

// spec describes a run to a worker.
func (d *Dispatcher) spec(l *lane, run runs.Run) ipc.RunSpec {
	p := l.project
	return ipc.RunSpec{
		ID:        run.ID,
		Project:   p.ID,
		Dir:       p.Path,
		Command:   p.Config.Command,
		Env:       environment(p, run),
		TimeoutMS: p.Config.Timeout(d.settings.RunTimeout).Milliseconds(),
		GraceMS:   Grace.Milliseconds(),
		Log:       d.logPath(p.ID),
		LogLimits: d.settings.LogLimits,
		Leftovers: p.Config.Leftovers,
		Limits:    ipc.Limits(p.Config.Limits),
	}
}

// retryDelay returns how long the attempt after so many failed or cut ones
// waits.
func retryDelay(first time.Duration, before int) time.Duration {
	delay := first
	for ; before > 1 && delay < maxRetryDelay; before-- {
		delay *= 2
	}
	return min(delay, max(first, maxRetryDelay))
}
