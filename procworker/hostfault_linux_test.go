package procworker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// straced runs this test binary in a role under strace, which injects a fault
// into a system call of the spawning thread's, and returns what the role says.
func straced(t *testing.T, role, inject string) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace here: %v: %s", err, out)
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(strace, "-f", "-o", log, "-e", "trace=clone,clone3,vfork,pipe2,socketpair,wait4,/^p?poll$", "-e", "inject="+inject, os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+role, "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.CombinedOutput()
	trace, _ := os.ReadFile(log)
	if !strings.Contains(string(trace), "(INJECTED)") {
		t.Skipf("strace has injected nothing: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, regexp.MustCompile(`(?m)^.*INJECTED.*$`).FindString(string(trace)))
	}
	return string(out)
}

// playSpawner starts /bin/true once, and tells how that went.
func playSpawner(how string) int {
	w := &procworker.Worker{Command: []string{"/bin/true"}, IPC: true, Ready: procworker.ReadyAtOnce, Stdout: new(strings.Builder)}
	if how == "bare" {
		w.IPC, w.Stdout = false, nil
	}
	err := w.Serve(context.Background())
	var spawn *procworker.SpawnError
	if errors.As(err, &spawn) {
		fmt.Println("host:", spawn.Host(), "left:", w.Snapshot().PID, err)
	} else {
		fmt.Println("end:", err)
	}
	return 0
}

// The faults that the kernel gives when the machine is short of something, in
// the calls that a start makes. Not clone: strace cannot tell the one that makes
// a child from those that make threads, without which the Go runtime gives up.
func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, role, inject string
		host               bool
	}{
		{name: "pipe2 for the output EMFILE", inject: "pipe2:error=EMFILE", host: true},
		{name: "pipe2 of the fork ENFILE", role: " bare", inject: "pipe2:error=ENFILE", host: true},
		{name: "socketpair EMFILE", inject: "socketpair:error=EMFILE", host: true},
		{name: "socketpair ENOMEM", inject: "socketpair:error=ENOMEM", host: true},
		{name: "socketpair EACCES", inject: "socketpair:error=EACCES"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := straced(t, "spawner"+tt.role, tt.inject)
			want := fmt.Sprintf("host: %v left: 0 ", tt.host)
			if !strings.HasPrefix(got, want) {
				t.Errorf("got %q, want %q first", got, want)
			}
		})
	}
}

// A wait that is interrupted again and again is begun anew.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"/^p?poll$", "wait4"} {
		if got := straced(t, "spawner", call+":error=EINTR:when=1..3"); got != "end: <nil>\n" {
			t.Errorf("%s: got %q", call, got)
		}
	}
}

// fork itself fails for want of processes: EAGAIN by a real limit.
func TestForkEAGAIN(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become a user whose processes nobody else counts")
	}
	dir, err := os.MkdirTemp("/tmp", "procworker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "full")
	copySelf(t, program)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	w := asChild(t, "full")
	w.Command, w.Dir, w.IPC = []string{program}, "/", false
	w.Credential = &procworker.Credential{UID: 54323, GID: 54323}
	if err := serve(t, w).end(); err != nil {
		t.Error(err)
	}
}

// playFull starts a worker when its user has no process left.
func playFull(string) int {
	start := func() error {
		return (&procworker.Worker{Command: []string{"/bin/true"}}).Serve(context.Background())
	}
	if err := start(); err != nil { // all threads that it takes are there
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	none := unix.Rlimit{Cur: 1, Max: 100}
	if unix.Setrlimit(unix.RLIMIT_NPROC, &none) != nil {
		return 3
	}
	var spawn *procworker.SpawnError
	if err := start(); !errors.As(err, &spawn) || !spawn.Host() || !errors.Is(err, syscall.EAGAIN) {
		fmt.Fprintln(os.Stderr, "with no process left:", err)
		return 4
	}
	none.Cur = 100
	if unix.Setrlimit(unix.RLIMIT_NPROC, &none) != nil {
		return 5
	}
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "later:", err)
		return 6
	}
	return 0
}
