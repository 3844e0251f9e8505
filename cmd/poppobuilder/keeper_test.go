//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/config"
)

// belongings returns the processes that are alive and have this home in their
// environment: the daemon, and all that it and its workers have started.
func (h *testHome) belongings() []string {
	h.t.Helper()
	return h.carriers(config.HomeVariable + "=" + h.paths.Home)
}

// carriers returns the processes that are alive and have this entry in their
// environment.
func (h *testHome) carriers(wanted string) (found []string) {
	h.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		environ, _ := os.ReadFile("/proc/" + entry.Name() + "/environ")
		if !strings.Contains("\x00"+string(environ), "\x00"+wanted+"\x00") || !isAlive(pid) {
			continue
		}
		arguments, _ := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		found = append(found, fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(arguments), "\x00", " ")))
	}
	return found
}

// isAlive reports whether a process is there, and not as a zombie.
func isAlive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndex(string(text), ")"):]), " ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// awaitNothing waits until nothing of the home is alive. 5 seconds are the
// promise; the bound is generous because the machine may be busy.
func (h *testHome) awaitNothing(since time.Time) {
	h.t.Helper()
	const bound = 15 * time.Second
	for {
		left := h.belongings()
		took := time.Since(since)
		if len(left) == 0 {
			h.t.Logf("everything was gone after %v", took.Round(time.Millisecond))
			return
		}
		if took > bound {
			h.t.Fatalf("after %v there is still:\n%s", took.Round(time.Millisecond), strings.Join(left, "\n"))
		}
		<-time.After(10 * time.Millisecond)
	}
}

// killTogether ends processes so that none of them can act on another's end.
func killTogether(t *testing.T, last syscall.Signal, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		kill(t, pid, syscall.SIGSTOP)
	}
	for _, pid := range pids[1:] {
		kill(t, pid, syscall.SIGKILL)
	}
	kill(t, pids[0], last)
	if last != syscall.SIGKILL {
		kill(t, pids[0], syscall.SIGCONT)
	}
}

func workerPIDs(s api.Status) (pids []int) {
	for _, w := range s.Workers {
		if w.PID != 0 {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

// Whatever is killed together with the master: within 5 seconds nothing is
// alive of what the daemon has started.
func TestKeeperEndsWhatAKilledDaemonLeaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		signal   syscall.Signal // to the master
		together func(h *testHome, s api.Status) []int
	}{
		{"master", syscall.SIGKILL, func(*testHome, api.Status) []int { return nil }},
		{"master by QUIT", syscall.SIGQUIT, func(*testHome, api.Status) []int { return nil }},
		{"master by ABRT", syscall.SIGABRT, func(_ *testHome, s api.Status) []int { return workerPIDs(s) }},
		{"master and workers", syscall.SIGKILL, func(_ *testHome, s api.Status) []int { return workerPIDs(s) }},
		{"master, workers and the run's first process", syscall.SIGKILL, func(h *testHome, s api.Status) []int {
			return append(workerPIDs(s), h.runs("running")[0].PID)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, `{"daemon":{"maxProcesses":2,"port":null}}`)
			alive := h.startStubborn()
			s := h.status()
			victims := append([]int{s.PID}, tt.together(h, s)...)
			killTogether(t, tt.signal, victims...)
			h.awaitNothing(time.Now())
			awaitEnd(t, alive)
		})
	}
}

// With cgroups there is no escape: not by a session, nor by parents that are dead,
// nor by a cleared environment.
func TestNothingEscapesFromACgroup(t *testing.T) {
	t.Parallel()
	const escapes = `trap "" TERM; exec 9>alive; setsid env -i PATH="$PATH" sh -c 'trap "" TERM; (sleep 1000 & sleep 1000 &) ; exec sleep 1000' & echo up >&9; wait`
	for _, who := range []string{"nobody", "the master and its workers", "a worker"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null},"defaults":{"retryAttempts":0}}`)
			h.cgroups = true
			alive := h.startScript(escapes)
			s := h.status()
			if s.Containment != api.ContainmentCgroup {
				t.Skipf("needs a cgroup in which others may be made; the workers are contained by %q", s.Containment)
			}
			h.must("project", "disable", "stubborn")
			switch who {
			case "nobody":
				h.must("project", "cancel", "stubborn")
			case "a worker":
				kill(t, s.Workers[0].PID, syscall.SIGKILL)
			default:
				killTogether(t, syscall.SIGKILL, append([]int{s.PID}, workerPIDs(s)...)...)
			}
			awaitEnd(t, alive)
			h.run("daemon", "stop")
		})
	}
}

const shellWorkerWithChildren = `
setsid sh -c 'trap "" TERM; sleep 1000 & wait' &
` + shellWorker

const nodeWorkerWithChildren = `
require('child_process').spawn('sh', ['-c', 'trap "" TERM; sleep 1000 & wait'], { detached: true, stdio: 'ignore' })
` + nodeWorker

// The daemon knows nothing of what a worker program of one's own has started.
func TestKeeperEndsWhatWorkersOfOnesOwnLeave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, program, file, script string }{
		{"sh", "sh", "worker.sh", shellWorkerWithChildren},
		{"node", "node", "worker.js", nodeWorkerWithChildren},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("needs %s: %v", tt.program, err)
			}
			h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null}}`)
			script := filepath.Join(h.dir, tt.file)
			if err := os.WriteFile(script, []byte(tt.script), 0o600); err != nil {
				t.Fatal(err)
			}
			command, err := json.Marshal([]string{program, script})
			if err != nil {
				t.Fatal(err)
			}
			h.must("global-config", "set", "daemon.worker.command", string(command))
			h.must("daemon", "start")
			asleep := func(api.Status) bool { return strings.Contains(strings.Join(h.belongings(), "\n"), "sleep 1000") }
			s := h.await("the worker's children", asleep)
			kill(t, s.PID, syscall.SIGKILL)
			h.awaitNothing(time.Now())
		})
	}
}

// A keeper that dies comes back, guards as before, and is in the status.
func TestKilledKeeperComesBack(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null,"restart":{"initialDelay":"10ms"}}}`)
	alive := h.startStubborn()
	first := h.status()
	if k := first.Keeper; k == nil || k.PID == 0 || k.State != api.WorkerIdle || k.Restarts != 0 {
		t.Fatalf("the keeper is %+v", first.Keeper)
	}
	kill(t, first.Keeper.PID, syscall.SIGTERM) // which it ignores
	kill(t, first.Keeper.PID, syscall.SIGKILL)
	s := h.await("another keeper", func(s api.Status) bool {
		return s.Keeper.PID != 0 && s.Keeper.PID != first.Keeper.PID && s.Keeper.Restarts == 1
	})
	if s.Workers[0].PID != first.Workers[0].PID {
		t.Error("the worker was replaced")
	}
	killTogether(t, syscall.SIGKILL, append([]int{s.PID}, workerPIDs(s)...)...)
	h.awaitNothing(time.Now())
	awaitEnd(t, alive)
}

// A daemon that is started right after everything was killed waits for what the
// keeper still kills.
func TestStartAfterKillWaitsForTheKeeper(t *testing.T) {
	t.Parallel()
	h := newHome(t, `{"daemon":{"maxProcesses":1,"port":null,"shutdownTimeout":0},"defaults":{"retryAttempts":0}}`)
	h.startStubborn()
	s := h.status()
	old := h.runs("running")[0].ID
	kill(t, s.Keeper.PID, syscall.SIGSTOP) // takes as long as it likes
	killTogether(t, syscall.SIGKILL, append([]int{s.PID}, workerPIDs(s)...)...)
	h.must("project", "disable", "stubborn")
	started := make(chan string, 1)
	go func() { started <- h.must("daemon", "start") }()
	select {
	case <-started:
		t.Error("a daemon was started while the keeper of the one before was there")
	case <-time.After(500 * time.Millisecond):
	}
	kill(t, s.Keeper.PID, syscall.SIGCONT)
	<-started
	if left := h.carriers("POPPOBUILDER_RUN_ID=" + old); len(left) > 0 {
		t.Errorf("of the old run there is still:\n%s", strings.Join(left, "\n"))
	}
	h.must("daemon", "stop")
	h.awaitNothing(time.Now())
}
