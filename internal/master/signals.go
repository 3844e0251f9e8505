package master

import (
	"context"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/poppobuilder/poppobuilder/signals"
)

// terminate asks a process to end.
const terminate = syscall.SIGTERM

// routes says what the signals do. PIPE is caught and dropped: the terminal
// that a foreground daemon logs to may go away.
func (m *master) routes() signals.Routes {
	return signals.Routes{
		syscall.SIGTERM: m.onStop,
		syscall.SIGINT:  m.onStop,
		syscall.SIGHUP:  m.onReload,
		syscall.SIGUSR1: m.onDump,
		syscall.SIGUSR2: m.onReserved,
		syscall.SIGPIPE: nil,
	}
}

// onStop stops gracefully the first time, and at once the second time.
func (m *master) onStop(_ context.Context, sig os.Signal) error {
	select {
	case <-m.stopping:
		m.log.Warn("told to stop once more: everything that runs is killed", "signal", signals.Name(sig))
		m.kill()
	default:
		m.log.Info("told to stop", "signal", signals.Name(sig))
		m.stop()
	}
	return nil
}

// onReload reloads. What goes wrong is logged there, and no reason to end.
func (m *master) onReload(ctx context.Context, _ os.Signal) error {
	_, _ = m.Reload(ctx)
	return nil
}

// onDump writes the status to the log.
func (m *master) onDump(context.Context, os.Signal) error {
	s := m.Status()
	m.log.Info("status", "state", s.State, "uptime", s.Uptime, "strategy", s.Strategy,
		"queued", s.Queue.Queued, "running", s.Queue.Running, "projects", s.Projects.Total, "dropped", s.Dropped, "goroutines", runtime.NumGoroutine())
	for _, w := range s.Workers {
		m.log.Info("status of worker", "worker", w.ID, "pid", w.PID, "state", w.State, "uptime", w.Uptime,
			"restarts", w.Restarts, "project", w.Project, "run", w.Run, "lastExit", w.LastExit)
	}
	for line := range strings.Lines(m.root.Status().String()) {
		m.log.Info("tree: " + strings.TrimSuffix(line, "\n"))
	}
	for _, p := range m.Projects() {
		m.log.Info("status of project", "project", p.ID, "state", p.State, "run", p.Run, "next", p.NextRunAt)
	}
	return nil
}

func (m *master) onReserved(_ context.Context, sig os.Signal) error {
	m.log.Info("signal is reserved for later use", "signal", signals.Name(sig))
	return nil
}
