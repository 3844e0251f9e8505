package worker_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestTimeout(t *testing.T) {
	t.Parallel()
	tests := []struct{ role, want string }{
		{"polite", "code 3, timeout: timed out after 1s"},
		{"block", "SIGTERM, timeout: timed out after 1s"},
		{"ignore", "SIGKILL, timeout: timed out after 1s"},
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, tt.role)
			spec.TimeoutMS = 1000
			if tt.role == "ignore" {
				spec.GraceMS = 50
			}
			m.send(ipc.Run{Run: spec})
			receive[ipc.Started](m)
			f := m.finished(spec)
			if f.Reason == "timeout" && !strings.Contains(readLog(t, spec), "ready") {
				t.Skip("the machine is too busy: the program was not ready at its timeout")
			}
			check(t, f, tt.want)
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "polite")
	m.start(spec)

	m.send(ipc.Cancel{Run: "another", Reason: "cancelled"})
	if got := receive[ipc.Error](m); got.Run != "another" || got.Fatal {
		t.Errorf("cancel of another run: got %+v", got)
	}
	m.send(ipc.Cancel{Run: spec.ID, Reason: "cancelled"})
	m.send(ipc.Cancel{Run: spec.ID, Reason: "cancelled again"})
	f := receive[ipc.Finished](m)
	check(t, f, "code 3, cancelled: stopped: cancelled")
	if log := readLog(t, spec); log != "ready\nbye\n" {
		t.Errorf("log: got %q", log)
	}
	// The second one may have come after the end.
	m.send(ipc.Shutdown{})
	for {
		got, err := m.conn.Receive()
		if err != nil {
			break
		}
		if got.Type == "finished" {
			t.Errorf("finished twice: %s", got.Raw)
		}
	}
}

func TestRunWhileOneRunsIsRefused(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "block")
	m.start(spec)
	second := newRun(t, "block")
	second.ID = "run2"
	m.send(ipc.Run{Run: second})
	if got := receive[ipc.Error](m); got.Run != "run2" || got.Error != "run run2 is refused: run run1 is not over yet" {
		t.Errorf("got %+v", got)
	}
	m.send(ipc.Cancel{Run: spec.ID})
	check(t, m.finished(spec), "SIGTERM, cancelled: stopped: cancelled")
	f, _ := m.do(newRun(t, "say 0"))
	check(t, f, "code 0")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	const long = 600_000
	const stopped = "shutdown: stopped: the worker was told to shut down"
	tests := []struct {
		name, role string
		timeouts   []int64
		want       string
	}{
		{"idle", "", []int64{long}, ""},
		{"a run that ends when asked to", "polite", []int64{long}, "code 3, " + stopped},
		{"a run that does not", "ignore", []int64{50}, "SIGKILL, " + stopped},
		{"at once", "ignore", []int64{0}, "SIGKILL, " + stopped},
		{"shortened", "ignore", []int64{long, 0}, "SIGKILL, " + stopped},
		{"not lengthened", "ignore", []int64{50, long}, "SIGKILL, " + stopped},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, tt.role)
			if tt.role != "" {
				m.start(spec)
			}
			for _, timeout := range tt.timeouts {
				m.send(ipc.Shutdown{TimeoutMS: timeout})
			}
			if tt.want != "" {
				check(t, m.finished(spec), tt.want)
			}
			if code := m.exit(); code != 0 {
				t.Errorf("exit code: got %d, want 0", code)
			}
		})
	}
}

func TestShutdownRefusesARun(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "ignore")
	m.start(spec)
	m.send(ipc.Shutdown{TimeoutMS: 600_000})
	m.send(ipc.Run{Run: ipc.RunSpec{ID: "run2"}})
	if got := receive[ipc.Error](m); got.Run != "run2" || !strings.Contains(got.Error, "shutting down") {
		t.Errorf("got %+v", got)
	}
	m.send(ipc.Shutdown{})
	m.finished(spec)
}

func TestTermIsAShutdown(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "polite")
	m.start(spec)
	signalWorker(t, m, syscall.SIGTERM)
	check(t, m.finished(spec), "code 3, shutdown: stopped: the worker was told to shut down")
	if code := m.exit(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
}

func TestSignalsOfTheMasterDoNotHurt(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	spec := newRun(t, "polite")
	m.start(spec)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		signalWorker(t, m, sig)
	}
	m.send(ipc.Cancel{Run: spec.ID})
	check(t, m.finished(spec), "code 3, cancelled: stopped: cancelled")
	f, _ := m.do(newRun(t, "say 0"))
	check(t, f, "code 0")
}

func signalWorker(t *testing.T, m *master, sig os.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestEndOfTheChannel(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"", "polite", "ignore"} {
		t.Run("with "+role, func(t *testing.T) {
			t.Parallel()
			m := startWorker(t, "worker")
			spec := newRun(t, role)
			if role != "" {
				m.start(spec)
			}
			closed := time.Now()
			m.conn.Close()
			if code := m.exit(); code != 1 {
				t.Errorf("exit code: got %d, want 1", code)
			}
			if took := time.Since(closed); took > hang/2 {
				t.Errorf("took %s", took)
			}
			if got := m.stderr.String(); !strings.Contains(got, "the channel to the daemon ended") {
				t.Errorf("stderr: got %q", got)
			}
			m.checkNothingLeft(spec)
			if log := readLog(t, spec); role == "polite" && log != "ready\nbye\n" {
				t.Errorf("log: got %q", log)
			}
		})
	}
}

func TestOddMessages(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker")
	for _, b := range []ipc.Body{odd("tomorrow"), ipc.Reload{Config: []byte(`{"a":1}`)}} {
		m.send(b) // both ignored
	}
	for _, b := range []ipc.Body{odd("run"), odd("cancel"), odd("shutdown")} {
		m.send(b)
		if got := receive[ipc.Error](m); got.Fatal || !strings.Contains(got.Error, b.MessageType()) {
			t.Errorf("%s: got %+v", b.MessageType(), got)
		}
	}
	f, _ := m.do(newRun(t, "say 0"))
	check(t, f, "code 0")
}

// odd is a message of some type whose keys have the wrong type.
type odd string

func (o odd) MessageType() string { return string(o) }

func (o odd) MarshalJSON() ([]byte, error) {
	return []byte(`{"run":[1],"timeoutMs":"soon"}`), nil
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	m := startWorker(t, "worker-with-heartbeat")
	for range 3 {
		receive[ipc.Heartbeat](m)
	}
}
