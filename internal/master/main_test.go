package master

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// roleVar makes the test binary a worker, whose kind is its first argument.
const roleVar = "POPPOBUILDER_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		os.Exit(play(os.Args[1]))
	}
	// The thread that starts processes stays for good.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/poppobuilder/poppobuilder/procworker.serveForks"))
}

// play is a worker. What it is told to run goes on until it is cancelled, or is
// over at once if the command is "done".
func play(kind string) int {
	conn, err := ipc.FromEnv()
	if err != nil || kind == "broken" {
		return 3
	}
	if kind == "babbling" {
		_, _ = syscall.Write(3, []byte("nonsense\n"))
	}
	tell := func(b ipc.Body) { _ = conn.Send(context.Background(), b) }
	switch kind {
	case "mute":
		_, _ = conn.Receive()
		return 0
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		tell(ipc.Ready{Protocol: ipc.Version, PID: os.Getpid()})
		for {
			if _, err := conn.Receive(); err != nil {
				return 0
			}
		}
	}
	tell(ipc.Ready{Protocol: ipc.Version, PID: os.Getpid()})
	for {
		m, err := conn.Receive()
		if err != nil {
			return 0
		}
		zero := 0
		switch m.Type {
		case "run":
			var body ipc.Run
			_ = m.Decode(&body)
			tell(ipc.Started{Run: body.Run.ID, PID: os.Getpid()})
			if body.Run.Command[0] == "done" {
				tell(ipc.Finished{Run: body.Run.ID, ExitCode: &zero})
			}
		case "cancel":
			var body ipc.Cancel
			_ = m.Decode(&body)
			tell(ipc.Finished{Run: body.Run, ExitCode: &zero, Reason: body.Reason})
		case "reload":
			tell(ipc.Error{Error: "I am told of a reload"})
		case "shutdown":
			if kind == "closing" {
				_ = conn.Close()
				select {}
			}
			return 0
		}
	}
}

func testProgram(kind string) program {
	return program{command: []string{os.Args[0], kind}, readyTimeout: 30 * time.Second}
}

func testSettings(size int, kind string) poolSettings {
	return poolSettings{
		size:            size,
		program:         testProgram(kind),
		backoff:         supervisor.Backoff{InitialDelay: -1},
		shutdownTimeout: 20 * time.Second,
		limits:          logs.Limits{},
	}
}

// A fixture is a pool and its dispatcher, which are served.
type fixture struct {
	*testing.T
	*pool
	store  *runs.Memory
	logged lockedBuffer
}

// assemble builds a pool that is not served yet, and its dispatcher, which is.
func assemble(t *testing.T, s poolSettings) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{T: t, store: runs.NewMemory(0)}
	f.pool = newPool(poolOptions{
		env:      append(os.Environ(), roleVar+"=1", "GORACE=atexit_sleep_ms=0"),
		dir:      dir,
		logPath:  func(n int) string { return filepath.Join(dir, fmt.Sprintf("worker-%d.log", n)) },
		log:      slog.New(slog.NewTextHandler(&f.logged, nil)),
		settings: s,
	})
	f.dispatch = dispatch.New(dispatch.Options{
		Store:    f.store,
		Pool:     f.pool,
		Log:      slog.New(slog.DiscardHandler),
		LogPath:  func(string) string { return "" },
		Settings: dispatch.Settings{Interval: time.Hour, RetryDelay: time.Millisecond},
	})
	f.serve(f.dispatch)
	return f
}

// serve serves a part until the end of the test.
func (f *fixture) serve(s supervisor.Service) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(ctx)
	}()
	f.Cleanup(func() {
		cancel()
		<-ended
	})
}

// start serves a pool and waits until its workers are up.
func start(t *testing.T, s poolSettings) *fixture {
	t.Helper()
	f := assemble(t, s)
	f.serve(f.pool)
	if err := f.await(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// until waits for a condition that an event elsewhere brings about.
func (f *fixture) until(what string, condition func() bool) {
	f.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("in vain waited for: %s; children are %v", what, children(f.T))
		}
	}
}

// pids returns the processes of the workers that are ready, by number.
func (f *fixture) pids() map[int]int {
	pids := make(map[int]int)
	for _, s := range f.members() {
		pid := s.worker.Snapshot().PID // 0 if it has just died
		if pid != 0 && s.restarter.Status().State == supervisor.StateReady {
			pids[s.n] = pid
		}
	}
	return pids
}

// untilUp waits until the pool has just so many workers, all ready, and returns
// their processes.
func (f *fixture) untilUp(n int) map[int]int {
	f.Helper()
	f.until(fmt.Sprintf("%d workers", n), func() bool { return len(f.members()) == n && len(f.pids()) == n })
	return f.pids()
}

// run gives a worker a run, and returns when its command runs.
func (f *fixture) run(id string, others ...string) runs.Run {
	f.Helper()
	var projects []project.Project
	for _, id := range append([]string{id}, others...) {
		p := project.Project{ID: id, Enabled: true, Config: project.DefaultConfig()}
		p.Config.Command = []string{"wait"}
		projects = append(projects, p)
	}
	if err := f.dispatch.SetProjects(f.Context(), projects); err != nil {
		f.Fatal(err)
	}
	var run runs.Run
	f.until("a run", func() bool {
		list := f.store.List(runs.Filter{Project: id, State: runs.Running})
		if len(list) == 0 || list[0].PID == 0 {
			return false
		}
		run = list[0]
		return true
	})
	return run
}

// children returns the processes that this one has started and not reaped.
func children(t *testing.T) []string {
	t.Helper()
	var all []string
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			all = append(all, strings.Fields(string(data))...)
		}
	}
	return all
}

// A lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

var _ io.Writer = (*lockedBuffer)(nil)

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
