package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// hang is how long a test waits for what must come.
const hang = 60 * time.Second

// A master is the other end of a worker that runs as a process of its own.
type master struct {
	t      *testing.T
	cmd    *exec.Cmd
	conn   *ipc.Conn
	stderr bytes.Buffer // readable after exit
	exited bool
}

// startWorker starts a worker and waits until it is ready.
func startWorker(t *testing.T, role string) *master {
	t.Helper()
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	m := &master{t: t, cmd: exec.Command(os.Args[0]), conn: ipc.NewConn(parent, ipc.Options{})}
	m.cmd.Env = append(os.Environ(), roleVar+"="+role,
		ipc.EnvFD+"=3", ipc.EnvNodeFD+"=3",
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"), // or each exit takes a second
		"NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "LISTEN_FDS=1", "INHERITED=yes")
	m.cmd.ExtraFiles = []*os.File{child}
	m.cmd.Stderr = &m.stderr
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	guard := time.AfterFunc(hang, func() { _ = m.cmd.Process.Kill() })
	t.Cleanup(func() {
		m.conn.Close()
		if !m.exited {
			_ = m.cmd.Wait()
		}
		guard.Stop()
		if t.Failed() && m.stderr.Len() > 0 {
			t.Logf("worker's stderr: %s", &m.stderr)
		}
	})
	if got := receive[ipc.Ready](m); got.Protocol != ipc.Version || got.PID != m.cmd.Process.Pid {
		t.Fatalf("ready: got %+v, want version %d and pid %d", got, ipc.Version, m.cmd.Process.Pid)
	}
	return m
}

func (m *master) send(b ipc.Body) {
	m.t.Helper()
	if err := m.conn.Send(m.t.Context(), b); err != nil {
		m.t.Fatal(err)
	}
}

// receive receives the next message, which has to be of type T.
func receive[T ipc.Body](m *master) T {
	m.t.Helper()
	var body T
	got, err := m.conn.Receive()
	for err == nil && got.Type == "metrics" { // they come at any time
		got, err = m.conn.Receive()
	}
	if err != nil {
		m.t.Fatalf("receive %s: %v", body.MessageType(), err)
	}
	if got.Type != body.MessageType() {
		m.t.Fatalf("got %s, want %s", got.Raw, body.MessageType())
	}
	if err := got.Decode(&body); err != nil {
		m.t.Fatal(err)
	}
	return body
}

// exit waits for the worker's end and returns its exit code.
func (m *master) exit() int {
	m.t.Helper()
	var exit *exec.ExitError
	if err := m.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	m.exited = true
	return m.cmd.ProcessState.ExitCode()
}

// newRun describes a run that plays one of this test's programs.
func newRun(t *testing.T, role string) ipc.RunSpec {
	t.Helper()
	dir := t.TempDir()
	spec := ipc.RunSpec{
		ID:      "run1",
		Dir:     dir,
		Command: []string{os.Args[0]},
		Env:     map[string]string{roleVar: role, cookieVar: dir},
		GraceMS: time.Minute.Milliseconds(),
		Log:     filepath.Join(dir, "run.log"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			killLeft(t, spec)
		}
	})
	return spec
}

// start starts a run and waits until its program is ready.
func (m *master) start(spec ipc.RunSpec) (pid int) {
	m.t.Helper()
	m.send(ipc.Run{Run: spec})
	started := receive[ipc.Started](m)
	if started.Run != spec.ID {
		m.t.Errorf("started: got run %q, want %q", started.Run, spec.ID)
	}
	m.waitForLog(spec, "ready\n")
	return started.PID
}

// finished waits for the end of a run, of which nothing may be left.
func (m *master) finished(spec ipc.RunSpec) ipc.Finished {
	m.t.Helper()
	f := receive[ipc.Finished](m)
	if f.Run != spec.ID {
		m.t.Errorf("finished: got run %q, want %q", f.Run, spec.ID)
	}
	m.checkNothingLeft(spec)
	return f
}

// do runs a program to its end, and returns what it wrote.
func (m *master) do(spec ipc.RunSpec) (ipc.Finished, string) {
	m.t.Helper()
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	return m.finished(spec), readLog(m.t, spec)
}

func readLog(t *testing.T, spec ipc.RunSpec) string {
	t.Helper()
	data, err := os.ReadFile(spec.Log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// waitForLog waits until a run's log has a line.
func (m *master) waitForLog(spec ipc.RunSpec, line string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), hang)
	defer cancel()
	found := &finder{want: line, found: cancel}
	err := logs.Follow(ctx, found, spec.Log, logs.FollowOptions{Lines: -1, Follow: true})
	if err != nil || ctx.Err() == context.DeadlineExceeded {
		m.t.Fatalf("wait for %q in the log: %v; got %q", line, err, found.got.String())
	}
}

type finder struct {
	want  string
	found func()
	got   strings.Builder
}

func (f *finder) Write(p []byte) (int, error) {
	f.got.Write(p)
	if strings.Contains(f.got.String(), f.want) {
		f.found()
	}
	return len(p), nil
}

// describe is the outcome of a run in short.
func describe(f ipc.Finished) string {
	var b strings.Builder
	switch {
	case f.ExitCode != nil:
		fmt.Fprintf(&b, "code %d", *f.ExitCode)
	case f.Signal != "":
		b.WriteString(f.Signal)
	default:
		b.WriteString("not started")
	}
	if f.Reason != "" {
		b.WriteString(", " + f.Reason)
	}
	if f.Error != "" {
		b.WriteString(": " + f.Error)
	}
	return b.String()
}

func check(t *testing.T, f ipc.Finished, want string) {
	t.Helper()
	if got := describe(f); got != want {
		t.Errorf("finished: got %q, want %q", got, want)
	}
}
