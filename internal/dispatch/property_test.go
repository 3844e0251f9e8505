package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

// Whatever happens in whatever order, no run is lost, none ends twice, none is
// given to a worker that cannot take it, no project has two, and no worker is
// idle while a run could start.
func TestInvariants(t *testing.T) {
	kinds := []string{
		"ready", "ready", "gone", "finish", "finish", "finish", "started", "run", "run", "cancel",
		"projects", "projects", "configure", "jump", "leaving", "retire", "removed", "sleep", "sleep", "drain",
	}
	step := rapid.Custom(func(t *rapid.T) step {
		return step{
			kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			a:    rapid.IntRange(0, worldSize-1).Draw(t, "a"),
			b:    rapid.IntRange(0, 63).Draw(t, "b"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(step, 30, 150).Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = play(t.Context(), steps) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// worldSize is the number of projects and of workers.
const worldSize = 4

type step struct {
	kind string
	a, b int // which, and how
}

// A world is what surrounds a dispatcher, and knows how it ought to be.
type world struct {
	*dispatch.Dispatcher
	store  *runs.Memory
	skew   atomic.Int64 // of the wall clock
	errors []error      // what was found in calls of the dispatcher

	mu       sync.Mutex // guards what follows, and errors
	workers  [worldSize]member
	retiring [worldSize]bool // who retired it waits to hear that it is idle
	leaving  [worldSize]bool // whoever has this number gets nothing more
	projects map[string]project.Project
	draining bool
	ended    map[string]runs.State
	waiting  sync.WaitGroup // for cancellations
}

// A member is a worker of the world.
type member struct {
	generation uint64
	ready      bool
	leaving    bool // gets nothing more
	doomed     bool // somebody wants it to end
	run, lane  string
}

func (w *world) wrong(format string, args ...any) {
	w.errors = append(w.errors, fmt.Errorf(format, args...))
}

func (w *world) Send(n int, generation uint64, body ipc.Body) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &w.workers[n]
	if !m.ready || m.generation != generation {
		w.wrong("%T for generation %d of worker %d, which is %+v", body, generation, n, *m)
		return
	}
	run, ok := body.(ipc.Run)
	if !ok {
		return
	}
	if m.run != "" || m.leaving || w.draining {
		w.wrong("run %s for worker %d, which is %+v, draining: %v", run.Run.ID, n, *m, w.draining)
	}
	if p, ok := w.projects[run.Run.Project]; !ok || !p.Enabled || p.Config.Paused {
		w.wrong("run %s of a project that must not run: %+v", run.Run.ID, p)
	}
	m.run, m.lane = run.Run.ID, run.Run.Project
}

func (w *world) Replace(n int, generation uint64, _ string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := &w.workers[n]; m.ready && m.generation == generation {
		m.doomed = true
	}
}

// play does the steps and returns what went wrong.
func play(ctx context.Context, steps []step) error {
	w := &world{store: runs.NewMemory(1 << 20), ended: make(map[string]runs.State)}
	w.Dispatcher = dispatch.New(dispatch.Options{
		Store:     w.store,
		Pool:      w,
		Log:       slog.New(slog.DiscardHandler),
		LogPath:   func(string) string { return "" },
		Settings:  defaults(),
		WallClock: func() time.Time { return time.Now().Round(0).Add(time.Duration(w.skew.Load())) },
	})
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error)
	go func() { served <- w.Serve(ctx) }()
	var err error
	for i, s := range steps {
		w.do(ctx, s)
		w.rest()
		if err = w.check(); err != nil {
			err = fmt.Errorf("after step %d, %+v: %w", i, s, err)
			break
		}
	}
	_ = w.SetProjects(ctx, nil)
	for n := range w.workers {
		w.gone(n)
	}
	synctest.Wait()
	if left := w.store.Unfinished(); err == nil && len(left) > 0 {
		err = fmt.Errorf("at the end, without projects and workers, there is %+v", left)
	}
	w.waiting.Wait() // every cancellation has been answered
	cancel()
	<-served
	w.Close()
	return err
}

// rest lets everything come to rest, the ends of workers that somebody wants to
// end included.
func (w *world) rest() {
	for {
		synctest.Wait()
		ended := false
		for n := range w.workers {
			w.mu.Lock()
			doomed := w.workers[n].doomed
			w.mu.Unlock()
			if doomed {
				w.gone(n)
				ended = true
			}
		}
		if !ended {
			return
		}
	}
}

func (w *world) gone(n int) {
	w.mu.Lock()
	m := &w.workers[n]
	was := *m
	*m = member{generation: m.generation}
	w.mu.Unlock()
	if was.ready {
		w.WorkerGone(n, was.generation)
	}
}

func (w *world) do(ctx context.Context, s step) {
	id := string(rune('a' + s.a))
	w.mu.Lock()
	m := &w.workers[s.a]
	was := *m
	w.mu.Unlock()
	switch s.kind {
	case "ready":
		if !was.ready {
			w.mu.Lock()
			*m = member{generation: was.generation + 1, ready: true, leaving: w.leaving[s.a]}
			w.mu.Unlock()
			w.WorkerReady(s.a, was.generation+1)
		}
	case "gone":
		w.gone(s.a)
	case "started":
		w.RunStarted(s.a, was.generation, ipc.Started{Run: was.run, PID: 1})
	case "finish":
		if was.run == "" {
			break
		}
		code := s.b % 2
		f := ipc.Finished{Run: was.run, ExitCode: &code, Reason: []string{"", "", "preempted", "timeout", "cancelled", "shutdown"}[s.b%6]}
		w.mu.Lock()
		m.run, m.lane = "", ""
		m.leaving = m.leaving || f.Reason == "shutdown"
		w.mu.Unlock()
		w.RunFinished(s.a, was.generation-1, f) // somebody else's
		w.RunFinished(s.a, was.generation, f)
	case "run":
		run, err := w.RunNow(ctx, id)
		if err == nil && run.State != runs.Queued {
			w.wrong("RunNow gave %+v", run)
		}
	case "cancel":
		w.waiting.Go(func() {
			run, err := w.Cancel(ctx, id)
			if err == nil && !run.State.Final() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.wrong("Cancel gave %+v", run)
			}
		})
	case "projects":
		w.setProjects(ctx, s)
	case "configure":
		settings := defaults()
		settings.Strategy = schedule.Kind(s.b % 4)
		settings.Interval = time.Duration(s.b) * time.Second
		settings.RetryAttempts = s.a
		settings.TimeSlice = time.Duration(s.b%5) * time.Second
		_ = w.Configure(ctx, settings)
	case "leaving":
		w.mu.Lock()
		m.leaving, w.leaving[s.a] = m.ready, true
		w.mu.Unlock()
		w.WorkerLeaving(s.a)
	case "removed":
		w.gone(s.a)
		w.mu.Lock()
		w.leaving[s.a] = false
		w.mu.Unlock()
		w.WorkerRemoved(s.a)
	case "retire":
		w.retire(s.a)
	case "jump":
		w.skew.Add(int64(s.b-32) * int64(time.Hour))
	case "sleep":
		time.Sleep(time.Duration(s.b) * time.Second)
	case "drain":
		if s.b > 50 { // not too often: little happens after it
			w.mu.Lock()
			w.draining = true
			w.mu.Unlock()
			_ = w.Drain(ctx)
		}
	}
}

// setProjects leaves some out, disables some and changes their shares.
func (w *world) setProjects(ctx context.Context, s step) {
	projects := make(map[string]project.Project)
	var list []project.Project
	for i := range worldSize {
		if (s.b>>i)&1 == 0 && i == s.a {
			continue
		}
		p := agent(string(rune('a' + i)))
		p.Enabled = i != s.a || s.b%3 > 0
		p.Config.Priority = (s.b * (i + 1)) % 101
		p.Config.Weight = 0.1 + float64(s.b%9)
		p.Config.Paused = i != s.a && s.b%5 == i
		if s.b%4 == 1 && i == 1 {
			p.Config.Cron, p.Config.Jitter = "* * * * *", new(20*time.Second)
		}
		if s.b%4 == 2 && i == 2 {
			p.Config.ActiveHours = &project.ActiveHours{Start: "08:00", End: "20:00"}
		}
		projects[p.ID] = p
		list = append(list, p)
	}
	w.mu.Lock()
	w.projects = projects
	w.mu.Unlock()
	_ = w.SetProjects(ctx, list)
}

func (w *world) retire(n int) {
	w.mu.Lock()
	m := &w.workers[n]
	generation, again := m.generation, w.retiring[n]
	if !again {
		m.leaving, w.leaving[n], w.retiring[n] = m.ready, true, true
	}
	w.mu.Unlock()
	if again {
		return
	}
	w.Retire(n, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.retiring[n] {
			w.wrong("worker %d is said to be idle once more", n)
		}
		w.retiring[n] = false
		m := &w.workers[n]
		if !m.ready || m.generation != generation {
			return
		}
		if m.run != "" || m.doomed {
			w.wrong("worker %d is said to be idle: %+v", n, *m)
		}
		m.doomed = true
	})
}

// check compares what the store and the snapshot say with each other and with
// the world. Everything is at rest.
func (w *world) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	idle := false
	for n, m := range w.workers {
		idle = idle || m.ready && m.run == "" && !m.leaving
		if w.retiring[n] && m.run == "" {
			w.wrong("worker %d has no run, and who retired it was not told", n)
		}
	}
	running, queued := map[string]int{}, 0
	seen := map[string]bool{}
	for _, run := range w.store.List(runs.Filter{}) {
		seen[run.ID] = true
		if before, ok := w.ended[run.ID]; ok && before != run.State {
			w.wrong("run %s was %s and is %s", run.ID, before, run.State)
		}
		switch {
		case run.State == runs.Queued:
			queued++
		case run.State == runs.Running:
			if running[run.Project]++; w.workers[*run.Worker].run != run.ID {
				w.wrong("run %s is not on worker %d, which is %+v", run.ID, *run.Worker, w.workers[*run.Worker])
			}
		default:
			w.ended[run.ID] = run.State
		}
	}
	for id := range w.ended {
		if !seen[id] {
			w.wrong("run %s has disappeared", id)
		}
	}
	total := 0
	for id, n := range running {
		if total += n; n > 1 {
			w.wrong("project %s has %d runs", id, n)
		}
	}
	for _, m := range w.workers {
		if m.run != "" && running[m.lane] != 1 {
			w.wrong("worker has run %s, which does not run", m.run)
		}
	}
	for _, run := range w.store.List(runs.Filter{State: runs.Queued}) {
		if p, ok := w.projects[run.Project]; !ok || !p.Enabled {
			w.wrong("run %s waits, and its project is %+v", run.ID, p)
		}
		held := w.projects[run.Project].Config.Paused || w.projects[run.Project].Config.ActiveHours != nil
		if idle && !held && !w.draining && running[run.Project] == 0 && !run.NotBefore.After(time.Now()) {
			w.wrong("run %s waits while a worker is idle", run.ID)
		}
	}
	now := w.Snapshot()
	if now.Queued != queued || now.Running != total || len(now.Workers) != total {
		w.wrong("the snapshot has %d queued, %d running on %v; the store %d and %d", now.Queued, now.Running, now.Workers, queued, total)
	}
	for id, p := range now.Projects {
		if _, ok := w.projects[id]; !ok {
			w.wrong("the snapshot has project %s", id)
		}
		if p.State == dispatch.StateIdle && p.Next.IsZero() && !w.draining {
			w.wrong("project %s rests for ever", id)
		}
	}
	return errors.Join(w.errors...)
}
