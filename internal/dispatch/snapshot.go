package dispatch

import (
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// A Snapshot is the state of a dispatcher at one moment. It is never changed.
type Snapshot struct {
	Strategy string
	Queued   int // runs that wait
	Running  int // runs that execute
	Draining bool
	// LostLines counts the lines of output that the logs of runs could not take.
	LostLines int64
	Workers   map[int]WorkerRun // of the workers that have a run
	Projects  map[string]Project
}

// WorkerRun tells which run a worker has.
type WorkerRun struct{ Project, Run string }

// Project is the state of a project.
type Project struct {
	State string    // idle, queued, running, paused, disabled, not-runnable
	Run   string    // the run that executes, else the one that waits
	Next  time.Time // when the next run is due or tried again; zero: unknown, or now
	Why   string    // what it waits for then: [WhyInterval] ..., or a [runs.Reason]
	Last  *runs.Run // the run that ended last
}

// The states of a [Project].
const (
	StateIdle        = "idle"
	StateQueued      = "queued"
	StateRunning     = "running"
	StatePaused      = "paused"
	StateDisabled    = "disabled"
	StateNotRunnable = "not-runnable"
)

// Snapshot returns the latest published state. It never waits.
func (d *Dispatcher) Snapshot() *Snapshot { return d.published.Load() }

// publish makes the state of now visible.
func (d *Dispatcher) publish() {
	s := &Snapshot{
		Strategy:  d.settings.Strategy.String(),
		Draining:  d.draining,
		LostLines: d.lostLines,
		Workers:   make(map[int]WorkerRun, len(d.workers)),
		Projects:  make(map[string]Project, len(d.lanes)),
	}
	now, wall := time.Now(), d.wall()
	for n, w := range d.workers {
		if w.lane != nil {
			s.Workers[n] = WorkerRun{Project: w.lane.project.ID, Run: w.lane.active.run.ID}
		}
	}
	for id, l := range d.lanes {
		s.Queued += len(l.queue)
		if l.active != nil {
			s.Running++
		}
		if !l.removed {
			s.Projects[id] = d.describe(l, now, wall)
		}
	}
	d.published.Store(s)
}

func (d *Dispatcher) describe(l *lane, now, wall time.Time) Project {
	p := Project{State: StateIdle, Last: l.last}
	if !l.next.at.IsZero() {
		p.Next, p.Why = wall.Add(l.next.until(now, wall)), l.next.why
	}
	if len(l.queue) > 0 {
		p.State, p.Run = StateQueued, l.queue[0].ID
	}
	switch {
	case l.active != nil:
		p.State, p.Run = StateRunning, l.active.run.ID
	case !l.project.Enabled:
		p.State = StateDisabled
	case !d.runnable(l):
		p.State = StateNotRunnable
	case l.project.Config.Paused:
		p.State = StatePaused
	}
	return p
}
