package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// A fakeBackend answers with what is in it and notes what it is told.
type fakeBackend struct {
	status   api.Status
	notReady bool
	err      error // what every method that can fail returns, if set
	cancel   func(context.Context) error

	mu       sync.Mutex // guards what follows
	projects map[string]project.Project
	calls    []string
	filter   api.RunFilter
}

func newFake() *fakeBackend {
	return &fakeBackend{
		status: api.Status{
			Running: true, PID: 12345, Uptime: 3600, Version: "1.2.3", Strategy: "round-robin",
			State: api.StateRunning, StartedAt: time.Unix(1_700_000_000, 0).UTC(),
			Home: "/home/me/.poppobuilder", Flags: []string{"--max-processes=3"},
			Workers:  []api.Worker{{ID: 0, PID: 12346, Uptime: 3600, State: api.WorkerIdle}},
			Projects: api.ProjectCounts{Total: 1, Enabled: 1},
			API:      api.Addresses{Address: "127.0.0.1:45678", Socket: "/home/me/.poppobuilder/sockets/daemon.sock"},
			Reload:   &api.LastReload{At: time.Unix(1_700_000_100, 0).UTC(), Error: "/home/me/.poppobuilder/config.json:3: bad"},
		},
		projects: map[string]project.Project{"web": webProject()},
	}
}

func webProject() project.Project {
	p := project.Project{ID: "web", Path: "/srv/web", Enabled: true, CreatedAt: time.Unix(1_700_000_000, 0).UTC()}
	p.Config.Name = "Web"
	p.Config.Priority = 50
	p.Config.Weight = 1
	p.Config.Command = []string{"make", "agent"}
	return p
}

func webRun() runs.Run {
	return runs.Run{ID: "r1", Project: "web", Origin: "r1", Attempt: 1, Reason: runs.Manual, State: runs.Queued}
}

func (b *fakeBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, fmt.Sprintf(format, args...))
}

// takeCalls returns what was noted since the last time.
func (b *fakeBackend) takeCalls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

func (b *fakeBackend) Status() api.Status { return b.status }
func (b *fakeBackend) Ready() bool        { return !b.notReady }

func (b *fakeBackend) Reload(context.Context) (api.Reload, error) {
	b.note("reload")
	return api.Reload{Changed: []string{"daemon.maxProcesses"}}, b.err
}

func (b *fakeBackend) Stop(_ context.Context, kill bool) error {
	b.note("stop kill=%v", kill)
	return b.err
}

func (b *fakeBackend) SyncProjects(context.Context) error {
	b.note("sync")
	return b.err
}

func (b *fakeBackend) Projects() []api.Project {
	p, err := b.Project("web")
	if err != nil {
		return nil
	}
	return []api.Project{p}
}

func (b *fakeBackend) Project(id string) (api.Project, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.projects[id]
	if !ok {
		return api.Project{}, fmt.Errorf("%w: %s", project.ErrNotFound, id)
	}
	last := webRun()
	return api.Project{Project: p, Activity: api.Activity{State: api.ProjectIdle, LastRun: &last}}, nil
}

func (b *fakeBackend) AddProject(_ context.Context, p project.Project) error {
	b.note("add %s %s", p.ID, p.Path)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.projects[p.ID]; ok {
		return fmt.Errorf("%w: %s", project.ErrExists, p.ID)
	}
	b.projects[p.ID] = p
	return b.err
}

func (b *fakeBackend) SetProject(_ context.Context, id string, edit func(project.Project) (project.Project, error)) error {
	b.note("set %s", id)
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.projects[id]
	if !ok {
		return fmt.Errorf("%w: %s", project.ErrNotFound, id)
	}
	p, err := edit(p)
	if err != nil {
		return err
	}
	b.projects[id] = p
	return b.err
}

func (b *fakeBackend) RemoveProject(_ context.Context, id string) error {
	b.note("remove %s", id)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.projects, id)
	return b.err
}

func (b *fakeBackend) AwaitRun(ctx context.Context, id string, until runs.Until) (runs.Run, error) {
	b.note("await %s %s", id, until)
	return b.Run(id)
}

func (b *fakeBackend) RetryRun(_ context.Context, id string) (runs.Run, error) {
	b.note("retry %s", id)
	return b.Run(id)
}

func (b *fakeBackend) RunProject(_ context.Context, id string, args []string) (runs.Run, error) {
	if args == nil {
		b.note("run %s", id)
	} else {
		b.note("run %s %q", id, args)
	}
	return webRun(), b.err
}

func (b *fakeBackend) CancelProject(ctx context.Context, id string) (runs.Run, error) {
	b.note("cancel %s", id)
	if b.cancel != nil {
		if err := b.cancel(ctx); err != nil {
			return runs.Run{}, err
		}
	}
	r := webRun()
	r.State = runs.Cancelled
	return r, b.err
}

func (b *fakeBackend) Runs(f api.RunFilter) []runs.Run {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filter = f
	if f.Project == "none" {
		return nil
	}
	return []runs.Run{webRun()}
}

func (b *fakeBackend) Run(id string) (runs.Run, error) {
	if id != "r1" {
		return runs.Run{}, fmt.Errorf("%w: %s", runs.ErrNotFound, id)
	}
	return webRun(), nil
}

func (b *fakeBackend) RestartWorker(_ context.Context, id int) error {
	b.note("restart %d", id)
	return b.err
}

const token = "0123456789abcdef0123456789abcdef"

// serve runs a server until the test ends, and returns its address.
func serve(t testing.TB, s *api.Server) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != context.Canceled {
			t.Errorf("Serve returned %v, want context.Canceled", err)
		}
	})
	return s.Listener.Addr().String()
}

// serveUnix serves the backend on a socket, and returns a client for it.
func serveUnix(t testing.TB, b api.Backend, o api.HandlerOptions) *api.Client {
	t.Helper()
	l, err := api.ListenUnix(t.TempDir() + "/d.sock")
	if err != nil {
		t.Fatal(err)
	}
	c := api.NewClient(serve(t, &api.Server{Listener: l, Handler: api.NewHandler(b, o)}))
	t.Cleanup(c.Close)
	return c
}
