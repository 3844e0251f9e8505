package master

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/poppobuilder/poppobuilder/internal/config"
	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// poolSettings picks what the pool needs.
func (m *master) poolSettings(s config.Settings) poolSettings {
	r := s.Daemon.Restart
	command := s.Daemon.Worker.Command
	builtin := len(command) == 0
	heartbeat := s.Daemon.Worker.HeartbeatTimeout
	if builtin {
		command = slices.Concat(m.o.WorkerCommand, []string{"--presence", m.presence()})
		if m.cgroups != nil {
			command = append(command, "--cgroups")
		}
		if heartbeat > 0 {
			// Two may be late before the third is missed.
			command = append(command, "--heartbeat", (heartbeat / 3).String())
		}
	}
	return poolSettings{
		size: s.Daemon.MaxProcesses,
		program: program{
			command:          command,
			builtin:          builtin,
			readyTimeout:     s.Daemon.Worker.ReadyTimeout,
			heartbeatTimeout: heartbeat,
		},
		backoff: supervisor.Backoff{
			InitialDelay: orNegative(r.InitialDelay),
			MaxDelay:     r.MaxDelay,
			Multiplier:   r.Multiplier,
			Jitter:       r.Jitter,
			ResetAfter:   orNegative(r.ResetAfter),
		},
		intensity:       supervisor.Intensity{MaxRestarts: r.MaxRestarts, Within: r.Within},
		shutdownTimeout: s.Daemon.ShutdownTimeout,
		limits:          logLimits(s.Logging),
	}
}

// presence is the file on which the built-in workers show that they are there.
func (m *master) presence() string { return filepath.Join(m.paths.State, "workers.lock") }

// keeperLock is the file on which the keeper shows that it is there.
func (m *master) keeperLock() string { return filepath.Join(m.paths.State, "keeper.lock") }

// orNegative turns a 0 that means "none" in the settings into the way in which
// the libraries say it: their 0 is the default.
func orNegative[T ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// dispatchSettings picks what the dispatcher needs.
func dispatchSettings(s config.Settings) dispatch.Settings {
	kind, err := schedule.Parse(s.Daemon.SchedulingStrategy)
	if err != nil {
		// The settings were validated, so both lists of names differ.
		panic(err)
	}
	return dispatch.Settings{
		Strategy:      kind,
		Interval:      s.Defaults.PollingInterval,
		RunTimeout:    s.Defaults.RunTimeout,
		TimeSlice:     s.Defaults.TimeSlice,
		Command:       s.Defaults.Command,
		RetryAttempts: s.Defaults.RetryAttempts,
		RetryDelay:    s.Defaults.RetryDelay,
		LogLimits: ipc.LogLimits{
			MaxSizeBytes: s.Logging.MaxSize,
			MaxFiles:     s.Logging.MaxFiles,
			MaxAgeMS:     s.Logging.MaxAge.Milliseconds(),

			RotateEveryMS: s.Logging.RotateEvery.Milliseconds(),
		},
	}
}

func logLimits(l config.Logging) logs.Limits {
	return logs.Limits{MaxSize: l.MaxSize, MaxFiles: l.MaxFiles, MaxAge: l.MaxAge, RotateEvery: l.RotateEvery}
}

// notForWorkers are the variables by which a service manager or a starting
// command talks to this process, and nobody else.
var notForWorkers = []string{
	"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
	ManagerVariable,
	ipc.EnvFD, ipc.EnvNodeFD,
}

// workerEnvironment returns the daemon's environment without those.
func workerEnvironment(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(notForWorkers, name)
	})
}
