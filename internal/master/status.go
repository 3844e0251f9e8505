package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// master is what the API speaks for.
var _ api.Backend = (*master)(nil)

// Ready reports whether the daemon takes work, and has anybody to do it.
func (m *master) Ready() bool { return m.ready.Load() && !m.pool.gaveUp() }

// Status puts together what the parts have published.
func (m *master) Status() api.Status {
	d := m.dispatch.Snapshot()
	now := time.Now()
	s := api.Status{
		Running:   true,
		PID:       os.Getpid(),
		Uptime:    int64(now.Sub(m.started).Seconds()),
		Version:   m.o.Version,
		Strategy:  d.Strategy,
		State:     m.state(),
		StartedAt: m.started,
		Home:      m.paths.Home,
		Flags:     m.o.Flags,
		Manager:   m.notify.manager,

		Containment: m.containment,
		Keeper:      m.guard.status(),

		Workers: []api.Worker{},
		Queue:   api.Queue{Queued: d.Queued, Running: d.Running},
		API:     api.Addresses{Address: m.address, Socket: m.paths.Socket},
	}
	for _, slot := range m.pool.members() {
		s.Workers = append(s.Workers, slot.status(now, d))
	}
	s.Dropped = m.dropped()
	s.Store = m.storeTrouble()
	for _, p := range d.Projects {
		s.Projects.Total++
		if p.State != dispatch.StateDisabled {
			s.Projects.Enabled++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Reload = m.lastReload
	return s
}

func (m *master) state() string {
	select {
	case <-m.stopping:
		return api.StateStopping
	default:
	}
	if m.ready.Load() {
		return api.StateRunning
	}
	return api.StateStarting
}

// status describes the worker of a slot.
func (s *slot) status(now time.Time, d *dispatch.Snapshot) api.Worker {
	r, p := s.restarter.Status(), s.worker.Snapshot()
	w := api.Worker{
		ID:       s.n,
		PID:      p.PID,
		Restarts: r.Restarts,
		State:    workerState(r),
		Metrics:  p.Metrics,
	}
	if p.PID != 0 {
		w.Uptime = int64(now.Sub(p.StartedAt).Seconds())
	}
	if run, busy := d.Workers[s.n]; busy {
		w.Project, w.Run = run.Project, run.Run
		if w.State == api.WorkerIdle {
			w.State = api.WorkerBusy
		}
	}
	if p.State == procworker.StateStopping {
		w.State = api.WorkerStopping
	}
	if r.State == supervisor.StateBackoff {
		ms := max(r.Trouble.NextTry.Sub(now).Milliseconds(), 0)
		w.NextRetryMs = &ms
	}
	if e := p.LastExit; e != nil {
		w.LastExit = exitText(e)
	}
	return w
}

// exitText tells in a few words how a process ended.
func exitText(e *procworker.Exit) string {
	switch {
	case e.Signal != "":
		return "signal " + e.Signal
	case e.PID == 0:
		return e.Err // it could not be started
	default:
		return fmt.Sprintf("exit code %d", e.Code)
	}
}

// workerState puts a supervisor's state in the words of the status.
func workerState(s supervisor.Status) string {
	switch s.State {
	case supervisor.StateIdle:
		if s.Generation > 0 { // was served, so the pool is ending
			return api.WorkerStopping
		}
		return api.WorkerStarting
	case supervisor.StateReady:
		return api.WorkerIdle
	case supervisor.StateBackoff:
		return api.WorkerBackoff
	case supervisor.StateStopping:
		return api.WorkerStopping
	case supervisor.StateGaveUp, supervisor.StateEnded:
		return api.WorkerGaveUp
	default:
		return api.WorkerStarting
	}
}

// Stop begins the end.
func (m *master) Stop(_ context.Context, kill bool) error {
	m.log.Info("told to stop", "by", "api", "kill", kill)
	if kill {
		m.kill()
	} else {
		m.stop()
	}
	return nil
}

// config returns the settings in force, and where each came from.
func (m *master) config(context.Context) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loaded.Entries(), nil
}

// Projects returns all projects, by id.
func (m *master) Projects() []api.Project {
	d := m.dispatch.Snapshot()
	registry, command := m.projectsNow().Projects(), m.settings().Defaults.Command
	projects := make([]api.Project, 0, len(registry))
	for _, p := range registry {
		projects = append(projects, describe(p, d, command))
	}
	return projects
}

// Project returns one project.
func (m *master) Project(id string) (api.Project, error) {
	p, err := m.projectsNow().Get(id)
	if err != nil {
		return api.Project{}, err
	}
	return describe(p, m.dispatch.Snapshot(), m.settings().Defaults.Command), nil
}

// projectsNow returns the registry that the daemon works with.
func (m *master) projectsNow() *project.Registry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.registry
}

func describe(p project.Project, d *dispatch.Snapshot, command []string) api.Project {
	now := d.Projects[p.ID]
	described := api.Project{Project: p}
	described.State, described.Run = now.State, now.Run
	described.NextRunAt, described.NextRunWhy, described.LastRun = now.Next, now.Why, now.Last
	if err := p.Runnable(command); err != nil {
		described.Problem = err.Error()
	}
	return described
}

// AddProject registers a project.
func (m *master) AddProject(ctx context.Context, p project.Project) error {
	return m.edit(ctx, func(r *project.Registry) error { return r.Add(p) })
}

// SetProject changes a project.
func (m *master) SetProject(ctx context.Context, id string, edit func(project.Project) (project.Project, error)) error {
	return m.edit(ctx, func(r *project.Registry) error {
		p, err := r.Get(id)
		if err != nil {
			return err
		}
		if p, err = edit(p); err != nil {
			return err
		}
		return r.Set(p)
	})
}

// RemoveProject takes a project out of the registry.
func (m *master) RemoveProject(ctx context.Context, id string) error {
	return m.edit(ctx, func(r *project.Registry) error { return r.Remove(id) })
}

// edit changes projects.json and takes it as it is then.
func (m *master) edit(ctx context.Context, f func(*project.Registry) error) error {
	if err := m.projects.Update(f); err != nil {
		return err
	}
	return m.SyncProjects(ctx)
}

// RunProject queues a run.
func (m *master) RunProject(ctx context.Context, id string, args []string) (runs.Run, error) {
	run, err := m.dispatch.RunNow(ctx, id, args...)
	return run, problem(err)
}

// CancelProject stops a project's runs.
func (m *master) CancelProject(ctx context.Context, id string) (runs.Run, error) {
	run, err := m.dispatch.Cancel(ctx, id)
	return run, problem(err)
}

// AwaitRun returns a run when it has come so far.
func (m *master) AwaitRun(ctx context.Context, id string, until runs.Until) (runs.Run, error) {
	run, err := m.dispatch.Await(ctx, id, until)
	return run, problem(err)
}

// RetryRun queues a run like one that has ended.
func (m *master) RetryRun(ctx context.Context, id string) (runs.Run, error) {
	run, err := m.dispatch.Retry(ctx, id)
	return run, problem(err)
}

// problem gives the dispatcher's errors their codes.
func problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dispatch.ErrStopping):
		return api.NewProblem(api.CodeStopping, err.Error())
	case isWriteError(err):
		return api.NewProblem(api.CodeStorage, err.Error())
	case errors.Is(err, dispatch.ErrDisabled), errors.Is(err, dispatch.ErrNothingToCancel), errors.Is(err, dispatch.ErrNotEnded), errors.Is(err, dispatch.ErrNotRunnable):
		return api.NewProblem(api.CodeConflict, err.Error())
	}
	return err
}

// Runs returns runs, the newest first.
func (m *master) Runs(f api.RunFilter) []runs.Run {
	return m.store.Committed().List(runs.Filter{Project: f.Project, State: f.State, Limit: f.Limit})
}

// Run returns one run.
func (m *master) Run(id string) (runs.Run, error) { return m.store.Committed().Get(id) }

// RestartWorker replaces the process of one worker.
func (m *master) RestartWorker(_ context.Context, id int) error {
	if err := m.pool.restart(id); err != nil {
		if errors.Is(err, errNoWorker) {
			return api.NewProblem(api.CodeNotFound, err.Error())
		}
		return fmt.Errorf("restart worker %d: %w", id, err)
	}
	return nil
}
