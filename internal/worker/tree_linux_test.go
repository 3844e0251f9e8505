package worker_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/worker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// trees are commands that leave something behind in ways that escape others.
func trees() map[string]string {
	return map[string]string{
		"same group":                  "leave plain block",
		"same group, ignores TERM":    "leave plain ignore",
		"own session":                 "leave setsid block",
		"own session, ignores TERM":   "leave setsid ignore",
		"double fork":                 "leave setsid leave setsid ignore",
		"daemon":                      "leave daemon leave daemon ignore",
		"own session, stopped":        "leave setsid stop",
		"deep, with members between":  "leave plain leave setsid leave plain leave daemon ignore",
		"leaves one in the own group": "leave setsid leave plain block",
	}
}

func TestLeftoversAreKilled(t *testing.T) {
	t.Parallel()
	for name, role := range trees() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, role)
			spec.GraceMS = 50
			f, _ := m.do(spec)
			check(t, f, "code 0")
		})
	}
}

func TestLeftoversGetTheGrace(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"plain", "setsid"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, "leave "+how+" polite")
			f, log := m.do(spec)
			check(t, f, "code 0")
			if log != "ready\nready\nbye\n" {
				t.Errorf("log: got %q", log)
			}
		})
	}
}

func TestLeftoversAreWaitedFor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		stop func(m *master, spec ipc.RunSpec)
		want string
	}{
		{"cancel", func(m *master, spec ipc.RunSpec) {
			m.send(ipc.Cancel{Run: spec.ID, Reason: "cancelled"})
		}, "code 0, cancelled: stopped: cancelled"},
		{"end", func(m *master, spec ipc.RunSpec) {
			// The leader is not alone in having the cookie; it is gone.
			for _, pid := range processes(m.t, spec) {
				_ = unix.Kill(pid, unix.SIGTERM)
			}
		}, "code 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, "leave setsid polite")
			spec.Leftovers = "wait"
			m.send(ipc.Run{Run: spec})
			wait := watchPID(t, receive[ipc.Started](m).PID)
			wait()
			if left := processes(t, spec); len(left) != 1 {
				t.Fatalf("processes after the command's end: got %v, want one", left)
			}
			tt.stop(m, spec)
			check(t, m.finished(spec), tt.want)
			if log := readLog(t, spec); log != "ready\nready\nbye\n" {
				t.Errorf("log: got %q", log)
			}
		})
	}
}

// Once the command has ended by itself, its outcome stands.
func TestStoppingLeftoversDoesNotChangeTheOutcome(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "leave setsid ignore")
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	m.waitForLog(spec, "no\n") // which is what it says at the command's end
	m.send(ipc.Cancel{Run: spec.ID, Reason: "cancelled"})
	m.send(ipc.Shutdown{})
	check(t, m.finished(spec), "code 0")
}

func TestLeftoversThatAreWaitedForTimeOut(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "leave setsid ignore")
	spec.Leftovers, spec.TimeoutMS, spec.GraceMS = "wait", 1500, 50
	f, log := m.do(spec)
	if !strings.HasPrefix(log, "ready\nready\n") {
		t.Skip("the machine is too busy: the program was not ready at its timeout")
	}
	check(t, f, "code 0, timeout: timed out after 1.5s")
}

// Without the subreaper, a run is over while a process of it lives.
func TestOrphansEscapeWithoutTheReaper(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker-without-reaper")
	spec := newRun(t, "leave setsid leave setsid ignore")
	spec.GraceMS = 50
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	m.waitForLog(spec, "ready\nready\nready\n")
	// The orphan holds the output, which is why this takes a second.
	receive[ipc.Finished](m)
	left := processes(t, spec)
	if len(left) != 1 {
		t.Errorf("processes left: got %v, want the one that escaped", left)
	}
	for _, pid := range left {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

func TestCancelStopsTheWholeTree(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, role, want string }{
		{"ignores TERM", "ignore", "SIGKILL"},
		{"is stopped", "stop", "SIGTERM"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, tt.role)
			if tt.want == "SIGKILL" {
				spec.GraceMS = 50
			}
			pid := m.start(spec)
			if tt.role == "stop" {
				waitStopped(t, pid)
			}
			m.send(ipc.Cancel{Run: spec.ID, Reason: "cancelled"})
			check(t, m.finished(spec), tt.want+", cancelled: stopped: cancelled")
		})
	}
}

func TestCancelAsksEveryProcess(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "with setsid with setsid polite")
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	m.waitForLog(spec, "ready\nready\nready\n")
	m.send(ipc.Cancel{Run: spec.ID})
	check(t, m.finished(spec), "SIGTERM, cancelled: stopped: cancelled")
	if log := readLog(t, spec); log != "ready\nready\nready\nbye\n" {
		t.Errorf("log: got %q", log)
	}
}

// waitStopped waits until a process has stopped. Only its parent could be
// told, so that this asks again and again.
func waitStopped(t *testing.T, pid int) {
	t.Helper()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(stat), ") T ") {
			return
		}
		syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 1000})
	}
}

// Somebody outside of the run holds its output.
func TestForeignHolderOfTheOutput(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "block")
	pid := m.start(spec)
	held, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", pid), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	fmt.Fprintln(held, "from outside")
	m.send(ipc.Cancel{Run: spec.ID})
	check(t, m.finished(spec), "SIGTERM, cancelled: stopped: cancelled")
	if log := readLog(t, spec); log != "ready\nfrom outside\n" {
		t.Errorf("log: got %q", log)
	}
}

// The kernel kills the command when its worker is killed. What that left is
// for the master, the next subreaper.
func TestCommandDiesWithItsWorker(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "ignore")
	wait := watchPID(t, m.start(spec))
	signalWorker(t, m, os.Kill)
	wait()
	m.exit()
}

func TestChildren(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "block")
	pid := m.start(spec)
	for name, list := range map[string]func(int) []int{
		"children": worker.Children, "by parent": worker.ChildrenByParent,
	} {
		if got := list(m.cmd.Process.Pid); len(got) != 1 || got[0] != pid {
			t.Errorf("%s: got %v, want %d", name, got, pid)
		}
		if got := list(1 << 30); len(got) != 0 {
			t.Errorf("%s of nobody: got %v", name, got)
		}
	}
}
