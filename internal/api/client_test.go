package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// TestClient asks every endpoint over a real socket.
func TestClient(t *testing.T) {
	t.Parallel()
	b := newFake()
	c := serveUnix(t, b, api.HandlerOptions{Config: func(context.Context) (any, error) {
		return map[string]int{"daemon.maxProcesses": 2}, nil
	}})
	ctx := t.Context()

	newProject := webProject()
	newProject.ID, newProject.Path = "api", "/srv/api"

	for _, tt := range []struct {
		name string
		ask  func() (any, error)
		want any
		call string // what the backend was told
	}{
		{"status", func() (any, error) { return c.Status(ctx) }, b.status, ""},
		{"health", func() (any, error) { return nil, c.Health(ctx) }, nil, ""},
		{"ready", func() (any, error) { return nil, c.Ready(ctx) }, nil, ""},
		{"config", func() (any, error) {
			var settings map[string]int
			err := c.Config(ctx, &settings)
			return settings, err
		}, map[string]int{"daemon.maxProcesses": 2}, ""},
		{"reload", func() (any, error) { return c.Reload(ctx) }, api.Reload{
			Changed: []string{"daemon.maxProcesses"}, RestartNeeded: []string{},
			Projects: api.ProjectChanges{Added: []string{}, Removed: []string{}, Changed: []string{}},
		}, "reload"},
		{"stop", func() (any, error) { return nil, c.Stop(ctx, false) }, nil, "stop kill=false"},
		{"kill", func() (any, error) { return nil, c.Stop(ctx, true) }, nil, "stop kill=true"},
		{"sync", func() (any, error) { return nil, c.SyncProjects(ctx) }, nil, "sync"},
		{"projects", func() (any, error) {
			list, err := c.Projects(ctx)
			return len(list), err
		}, 1, ""},
		{"project", func() (any, error) {
			p, err := c.Project(ctx, "web")
			return []any{p.ID, p.Path, p.Config.Command, p.State, p.LastRun.ID}, err
		}, []any{"web", "/srv/web", []string{"make", "agent"}, api.ProjectIdle, "r1"}, ""},
		{"add", func() (any, error) {
			p, err := c.AddProject(ctx, newProject)
			return []any{p.ID, p.Path, p.Config.Name}, err
		}, []any{"api", "/srv/api", "Web"}, "add api /srv/api"},
		{"set", func() (any, error) {
			p, err := c.SetProject(ctx, "api", map[string]any{"enabled": false, "config": map[string]any{"priority": 70}})
			return []any{p.Enabled, p.Config.Priority, p.Config.Name}, err
		}, []any{false, 70, "Web"}, "set api"},
		{"remove", func() (any, error) { return nil, c.RemoveProject(ctx, "api") }, nil, "remove api"},
		{"run project", func() (any, error) { return c.RunProject(ctx, "web") }, webRun(), "run web"},
		{"run project with arguments", func() (any, error) { return c.RunProject(ctx, "web", "-v", "") }, webRun(), `run web ["-v" ""]`},
		{"await run", func() (any, error) { return c.AwaitRun(ctx, "r1", runs.UntilStarted) }, webRun(), "await r1 started"},
		{"retry run", func() (any, error) { return c.RetryRun(ctx, "r1") }, webRun(), "retry r1"},
		{"id in need of escapes", func() (any, error) { return c.RunProject(ctx, "a/b%2F?c") }, webRun(), "run a/b%2F?c"},
		{"cancel", func() (any, error) {
			run, err := c.CancelProject(ctx, "web")
			return run.State, err
		}, runs.Cancelled, "cancel web"},
		{"runs", func() (any, error) { return c.Runs(ctx, api.RunFilter{}) }, []runs.Run{webRun()}, ""},
		{"no runs", func() (any, error) { return c.Runs(ctx, api.RunFilter{Project: "none"}) }, []runs.Run{}, ""},
		{"run", func() (any, error) { return c.Run(ctx, "r1") }, webRun(), ""},
		{"restart worker", func() (any, error) { return nil, c.RestartWorker(ctx, 3) }, nil, "restart 3"},
	} {
		got, err := tt.ask()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if call := strings.Join(b.takeCalls(), "; "); call != tt.call {
			t.Errorf("%s: the backend was told %q, want %q", tt.name, call, tt.call)
		}
	}
}

func TestClient_filter(t *testing.T) {
	t.Parallel()
	b := newFake()
	c := serveUnix(t, b, api.HandlerOptions{})
	for _, tt := range []struct{ sent, want api.RunFilter }{
		{api.RunFilter{}, api.RunFilter{Limit: api.DefaultRunLimit}},
		{api.RunFilter{Project: "a&b", State: runs.Failed, Limit: 7}, api.RunFilter{Project: "a&b", State: runs.Failed, Limit: 7}},
	} {
		if _, err := c.Runs(t.Context(), tt.sent); err != nil {
			t.Fatal(err)
		}
		if b.filter != tt.want {
			t.Errorf("sent %+v, the backend got %+v, want %+v", tt.sent, b.filter, tt.want)
		}
	}
}

// TestClient_problems tells how the backend's errors look on the other side.
func TestClient_problems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		code   string
		status int
	}{
		{api.NewProblem(api.CodeInvalidConfig, "config.json:3: daemon.port: out of range"), api.CodeInvalidConfig, 422},
		{fmt.Errorf("reload: %w", api.NewProblem(api.CodeStopping, "the daemon is stopping")), api.CodeStopping, 503},
		{fmt.Errorf("%w: web", project.ErrNotFound), api.CodeNotFound, 404},
		{fmt.Errorf("%w: r7", runs.ErrNotFound), api.CodeNotFound, 404},
		{fmt.Errorf("%w: web", project.ErrExists), api.CodeExists, 409},
		{fmt.Errorf("load: %w", project.Faults{{}}), api.CodeInvalidProject, 422},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), api.CodeTimeout, 504},
		{errors.New("disk on fire"), api.CodeInternal, 500},
	} {
		b := newFake()
		b.err = tt.err
		c := serveUnix(t, b, api.HandlerOptions{})
		_, err := c.Reload(t.Context())
		var p *api.Problem
		if !errors.As(err, &p) {
			t.Errorf("%v: got %v, want a problem", tt.err, err)
			continue
		}
		if p.Code != tt.code || p.Status != tt.status || p.Title != http.StatusText(tt.status) || p.Type != "about:blank" {
			t.Errorf("%v: got %+v, want code %s, status %d", tt.err, p, tt.code, tt.status)
		}
		for _, sentinel := range []error{project.ErrNotFound, runs.ErrNotFound, project.ErrExists} {
			if errors.Is(tt.err, sentinel) && !errors.Is(err, sentinel) {
				t.Errorf("%v is no longer %v on the client's side", err, sentinel)
			}
		}
	}
}

func TestClient_notReady(t *testing.T) {
	t.Parallel()
	b := newFake()
	b.notReady = true
	err := serveUnix(t, b, api.HandlerOptions{}).Ready(t.Context())
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != api.CodeNotReady || p.Status != http.StatusServiceUnavailable {
		t.Errorf("got %v, want %s", err, api.CodeNotReady)
	}
}

func TestClient_notRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, socket := range map[string]string{
		"no socket":    filepath.Join(dir, "none.sock"),
		"no directory": filepath.Join(dir, "none", "d.sock"),
		"file as home": filepath.Join(file, "d.sock"),
		"dead socket":  deadSocket(t),
		"too long":     filepath.Join(dir, strings.Repeat("x", api.MaxSocketPath)),
	} {
		c := api.NewClient(socket)
		if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), socket) {
			t.Errorf("%s: got %v, want ErrNotRunning with the path", name, err)
		}
		if _, err := c.CancelProject(t.Context(), "web"); !errors.Is(err, api.ErrNotRunning) {
			t.Errorf("%s: cancel: got %v, want ErrNotRunning", name, err)
		}
	}
}

// TestClient_hungDaemon has a daemon that is stopped (SIGSTOP): the kernel
// takes the connection, nobody answers.
func TestClient_hungDaemon(t *testing.T) {
	t.Parallel()
	l, err := api.ListenUnix(t.TempDir() + "/d.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := api.NewClient(l.Addr().String())
	c.Timeout = 20 * time.Millisecond
	for name, ask := range map[string]func(context.Context) error{
		"status": func(ctx context.Context) error { _, err := c.Status(ctx); return err },
		"cancel": func(ctx context.Context) error { _, err := c.CancelProject(ctx, "web"); return err },
		"reload": func(ctx context.Context) error { _, err := c.Reload(ctx); return err },
		"stop":   func(ctx context.Context) error { return c.Stop(ctx, true) },
	} {
		err := ask(t.Context())
		if !errors.Is(err, api.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want ErrNoAnswer", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ask(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, api.ErrNoAnswer) {
			t.Errorf("%s, cancelled by the caller: got %v, want context.Canceled", name, err)
		}
	}
}

// TestClient_goesAway cancels a request, which ends the backend's context.
func TestClient_goesAway(t *testing.T) {
	t.Parallel()
	entered, left := make(chan struct{}), make(chan struct{})
	b := newFake()
	b.cancel = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	c := serveUnix(t, b, api.HandlerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.CancelProject(ctx, "web")
		done <- err
	}()
	<-entered
	cancel()
	<-left
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestClient_strangers has other programs on the socket.
func TestClient_strangers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, want string }{
		{"dies", "", "went away"},
		{"dies halfway", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "went away"},
		{"no HTTP", "220 smtp ready\r\n", "malformed HTTP"},
		{"no JSON", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "invalid character"},
		{"no problem", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi", "502 Bad Gateway"},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n", "302 Found"},
	} {
		l, err := api.ListenUnix(t.TempDir() + "/d.sock")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			answerOnce(l, tt.answer)
		}()
		c := api.NewClient(l.Addr().String())
		_, err = c.Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v shows a made-up address", tt.name, err)
		}
		c.Close()
		l.Close()
		<-done
	}
}

// answerOnce reads the header of one request, and answers.
func answerOnce(l net.Listener, answer string) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	conn.Read(buf)
	io.WriteString(conn, answer)
}

func TestClient_permission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may connect to every socket")
	}
	l, err := api.ListenUnix(t.TempDir() + "/d.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(l.Addr().String(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := api.NewClient(l.Addr().String()).Status(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want fs.ErrPermission", err)
	}
}
