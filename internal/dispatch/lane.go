package dispatch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
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

	cron   *calendar.Cron   // the times of its runs; nil: it goes by its interval
	window *calendar.Window // the hours in which they start; nil: always
	served time.Time        // by the wall clock: the times up to this one are done with

	queue   []runs.Run // queued runs, the oldest first
	waiting bool       // the strategy has it
	active  *active    // the run that executes
	due     time.Time  // when the interval is over; zero: not counting
	lastEnd time.Time
	renewed bool      // was added or enabled anew while its run executed: due when that has ended
	last    *runs.Run // the run that ended last

	next  moment      // what a lane that rests or whose queue waits, waits for
	alarm *time.Timer // fires when there may be something to do by the monotonic clock
	look  time.Time   // when there may be by the wall clock; zero: never
}

// active is a run that a worker has.
type active struct {
	run        runs.Run
	worker     int
	generation uint64
	started    time.Time
	stop       string // why it was asked to stop: "cancelled", "timeout", preempted; empty: it was not
	backstop   *time.Timer
	slice      slice
	ended      []chan<- runs.Run // told when it is over
}

// ready returns the index of the first queued run that may start, or -1 and the
// moment at which one may.
func (l *lane) ready(now, wall time.Time) (int, moment) {
	var next moment
	for i, run := range l.queue {
		m := moment{why: string(run.Reason)}
		switch {
		case run.NotBefore.After(now):
			m.at = run.NotBefore
		case l.window != nil && !run.ByHand && !l.window.Open(wall):
			m = moment{at: l.window.Opens(wall), wall: true, why: WhyHours}
		default:
			return i, moment{}
		}
		if next.at.IsZero() || m.until(now, wall) < next.until(now, wall) {
			next = m
		}
	}
	return -1, next
}

// runnable reports whether new runs of a lane's project may be queued.
func (d *Dispatcher) runnable(l *lane) bool {
	return !l.removed && l.project.Enabled && l.project.Runnable(d.settings.Command) == nil
}

func (l *lane) item() schedule.Item {
	return schedule.Item{ID: l.project.ID, Priority: l.project.Config.Priority, Weight: l.project.Config.Weight}
}

// inOrder returns the lanes by the ids of their projects, for whatever enters the
// strategy: who goes first must not be an accident.
func (d *Dispatcher) inOrder() []*lane {
	lanes := slices.Collect(maps.Values(d.lanes))
	slices.SortFunc(lanes, func(a, b *lane) int { return cmp.Compare(a.project.ID, b.project.ID) })
	return lanes
}

// settle brings a lane in line with its state after any change: it queues the
// run that is due, enters the strategy or leaves it, and sets the alarms.
func (d *Dispatcher) settle(l *lane) {
	if l.alarm != nil {
		l.alarm.Stop()
		l.alarm = nil
	}
	l.look, l.next = time.Time{}, moment{}
	if d.draining || l.active != nil || !d.runnable(l) || l.project.Config.Paused {
		d.withdraw(l)
		d.dropIfGone(l)
		return
	}
	now, wall := time.Now(), d.wall()
	if len(l.queue) == 0 {
		next := d.due(l, now, wall)
		if next.at.IsZero() || next.until(now, wall) > 0 {
			d.waitFor(l, next)
			return
		}
		if !d.enqueue(l, runs.Request{Project: l.project.ID, Reason: runs.Schedule}) {
			d.wakeAt(l, now.Add(slack))
			return
		}
	}
	i, next := l.ready(now, wall)
	if i < 0 {
		d.withdraw(l)
		d.waitFor(l, next)
		return
	}
	d.strategy.Push(l.item()) // again, when it waits already: its share may have changed
	l.waiting = true
	if l.window != nil && !l.queue[i].ByHand { // so the window is open
		l.look = l.window.Closes(wall)
	}
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
	if d.stalled {
		return false
	}
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
	first, left := d.recall()
	known := make(map[string]bool, len(projects))
	for _, p := range projects {
		known[p.ID] = true
		l := d.lanes[p.ID]
		if l == nil {
			l = &lane{due: time.Now(), served: d.servedBefore(p)}
			d.lanes[p.ID] = l
		} else if p.Enabled && !l.project.Enabled || l.removed {
			l.due, l.lastEnd, l.renewed = time.Now(), time.Time{}, l.active != nil
			l.served = d.wall()
		}
		d.take(l, p)
		if first {
			d.takeOver(l, left[p.ID])
			delete(left, p.ID)
		}
		if !p.Enabled {
			d.cancelQueued(l, "the project was disabled")
		}
		d.settle(l)
	}
	d.endOrphans(left)
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
			d.announce(ended, nil)
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
		Command:   slices.Concat(p.Command(d.settings.Command), run.Args),
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
