package dispatch

import (
	"time"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// Two clocks tell when a lane is due. Intervals, retries and time slices go by
// the monotonic one, which nobody can set. Cron expressions and active hours are
// about the clock on the wall. A timer cannot wait for that: it would not notice
// that the clock was set. So while a lane waits for such a time, and only then,
// the loop looks at the clock once a minute.
const lookEvery = time.Minute

// stepBack is how far the wall clock may be set back without a cron time that was
// served coming again: it is waited for then. Beyond that the clock was wrong and
// the new time counts, as in Vixie's cron(8).
const stepBack = 3 * time.Hour

// What a project waits for, in [Project.Why]; or the [runs.Reason] of the run
// that waits.
const (
	WhyInterval = "interval"
	WhyCron     = "cron"
	WhyHours    = "active-hours"
)

// A moment is when something is due, and why then.
type moment struct {
	at   time.Time // zero: never, as far as is known
	wall bool      // by the wall clock
	why  string
}

// until returns how long it is until a moment by its clock.
func (m moment) until(now, wall time.Time) time.Duration {
	if m.wall {
		return m.at.Sub(wall)
	}
	return m.at.Sub(now)
}

// due returns when the next run of a lane is to be queued.
func (d *Dispatcher) due(l *lane, now, wall time.Time) moment {
	next := moment{at: d.dueAt(l), why: WhyInterval}
	if l.cron != nil {
		next = moment{at: d.cronDue(l, wall), wall: true, why: WhyCron}
	}
	if next.at.IsZero() || l.window == nil {
		return next
	}
	at := wall.Add(max(next.until(now, wall), 0))
	if opens := l.window.Opens(at); opens.After(at) {
		return moment{at: opens, wall: true, why: WhyHours}
	}
	return next
}

// dueAt computes when a lane with an interval is due under the settings of now.
func (d *Dispatcher) dueAt(l *lane) time.Time {
	if l.due.IsZero() || l.lastEnd.IsZero() {
		return l.due
	}
	ended := l.lastEnd
	if l.last != nil {
		ended = l.last.FinishedAt // what a restart finds in the store
	}
	return l.lastEnd.Add(l.project.Config.Interval(d.settings.Interval)).Add(l.jitter(ended))
}

// cronDue computes when a lane with a cron expression is due. Times that have
// passed while it could not run are due now, all of them once.
func (d *Dispatcher) cronDue(l *lane, wall time.Time) time.Time {
	if l.served.Sub(wall) > stepBack {
		l.served = wall
	}
	at := l.cron.Next(l.served)
	if at.IsZero() {
		return at
	}
	return at.Add(l.jitter(at))
}

func (l *lane) jitter(at time.Time) time.Duration {
	if most := l.project.Config.Jitter; most != nil {
		return calendar.Jitter(l.project.ID, at, *most)
	}
	return 0
}

// take gives a lane its project as it is from now on.
func (d *Dispatcher) take(l *lane, p project.Project) {
	old, c := l.project.Config, p.Config
	if l.project.ID != "" && (c.Cron != old.Cron || c.Timezone != old.Timezone) {
		l.served = d.wall() // what the new expression would have missed is not due
	}
	l.project, l.removed = p, false
	var err error
	if l.cron, err = c.CronTimes(); err != nil { // the registry has seen to it, unless zones have changed since
		d.log.Error("read schedule.cron", "project", p.ID, "error", err)
	}
	if l.window, err = c.Window(); err != nil {
		d.log.Error("read schedule.activeHours", "project", p.ID, "error", err)
	}
	if l.active != nil {
		d.setSlice(l)
	}
}

// servedBefore returns up to when the times of a project that is new to the
// dispatcher have been served: until its latest run started. A cron time since
// then has been missed; a project without runs has missed none.
func (d *Dispatcher) servedBefore(p project.Project) time.Time {
	if p.Config.Cron == "" { // do not search the history for nothing
		return d.wall()
	}
	for _, run := range d.store.List(runs.Filter{Project: p.ID, Limit: 10}) {
		if !run.StartedAt.IsZero() {
			return run.StartedAt.Round(0)
		}
	}
	return d.wall()
}

// waitFor settles the lane again at a moment.
func (d *Dispatcher) waitFor(l *lane, m moment) {
	l.next = m
	switch {
	case m.at.IsZero():
	case m.wall:
		l.look = m.at
	default:
		d.wakeAt(l, m.at)
	}
}

// watchClock sets the one timer for all lanes that wait for a time on the wall.
func (d *Dispatcher) watchClock() {
	var first time.Time
	for _, l := range d.lanes {
		if !l.look.IsZero() && (first.IsZero() || l.look.Before(first)) {
			first = l.look
		}
	}
	if d.looking != nil && first.Equal(d.lookAt) {
		return
	}
	if d.looking != nil {
		d.looking.Stop()
		d.looking = nil
	}
	if first.IsZero() {
		return
	}
	d.lookAt = first
	var timer *time.Timer
	timer = time.AfterFunc(min(first.Sub(d.wall()), lookEvery), func() {
		d.post(func() {
			if d.looking != timer {
				return
			}
			d.looking = nil
			for _, l := range d.inOrder() {
				if !l.look.IsZero() {
					d.settle(l)
				}
			}
		})
	})
	d.looking = timer
}
