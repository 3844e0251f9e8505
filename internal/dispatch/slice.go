package dispatch

import (
	"cmp"
	"slices"
	"time"
)

// preempted is why a run is asked to stop that has to make way.
const preempted = "preempted"

// A slice is the time that a run may take while others wait.
//
// A slice is a turn. When it is over and somebody waits, or as soon as somebody
// does, the project stands in line again with those that wait: if the strategy
// would choose it again, its run goes on for another slice; otherwise the run is
// asked to stop and queued again.
type slice struct {
	since   time.Time     // the beginning of this slice
	charged time.Duration // what the strategy has been told of the run
	over    bool
	timer   *time.Timer
}

func (s *slice) stop() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// setSlice sets the end of an active run's slice, which the settings of now
// determine.
func (d *Dispatcher) setSlice(l *lane) {
	a := l.active
	a.slice.stop()
	length := l.project.Config.Slice(d.settings.TimeSlice)
	left := length - time.Since(a.slice.since)
	a.slice.over = length > 0 && left <= 0
	if length == 0 || a.slice.over {
		return
	}
	a.slice.timer = time.AfterFunc(left, func() {
		d.post(func() {
			if l.active == a {
				d.setSlice(l)
			}
		})
	})
}

// share asks as many runs to stop that have had their slice as there are
// projects that wait. It is called when no worker is idle, or nobody waits.
func (d *Dispatcher) share() {
	waiting := d.strategy.Len()
	if waiting == 0 || d.draining {
		return
	}
	var over []*lane
	for _, w := range d.workers {
		switch {
		case w.lane == nil || w.leaving: // has nothing to give
		case w.lane.active.stop != "":
			waiting--
		case w.lane.active.slice.over:
			over = append(over, w.lane)
		}
	}
	slices.SortFunc(over, func(a, b *lane) int {
		return cmp.Or(a.active.slice.since.Compare(b.active.slice.since), cmp.Compare(a.active.worker, b.active.worker))
	})
	for _, l := range over {
		if waiting <= 0 {
			return
		}
		if !d.runnable(l) || d.goesOn(l) { // what is cut of a disabled project would be lost
			continue
		}
		d.log.Info("run makes way", "project", l.project.ID, "run", l.active.run.ID)
		d.requestStop(l, preempted)
		waiting--
	}
}

// goesOn reports whether a run that has had its slice would be the next one
// anyway. It has another slice then.
func (d *Dispatcher) goesOn(l *lane) bool {
	if l.project.Config.Paused || l.window != nil && !l.active.run.ByHand && !l.window.Open(d.wall()) {
		return false
	}
	d.charge(l)
	d.strategy.Push(l.item())
	if next, _ := d.strategy.Peek(); next.ID != l.project.ID {
		d.strategy.Remove(l.project.ID)
		return false
	}
	d.strategy.Pop()
	l.active.slice.since = time.Now()
	d.setSlice(l)
	return true
}

// charge tells the strategy what an active run has cost since it was last told.
func (d *Dispatcher) charge(l *lane) {
	s := &l.active.slice
	total := time.Since(l.active.started)
	d.strategy.Charge(l.project.ID, total-s.charged)
	s.charged = total
}
