package procworker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// under runs a shell script with limits, and returns what it prints.
func under(t *testing.T, l procworker.Limits, script string) string {
	t.Helper()
	var out bytes.Buffer
	w := &procworker.Worker{Name: t.Name(), Command: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out, Limits: l}
	if err := serve(t, w).end(); err != nil {
		t.Fatalf("Serve = %v: %s", err, out.String())
	}
	return out.String()
}

func TestLimitsAreTheChildsOnly(t *testing.T) {
	t.Parallel()
	const script = `grep -E '^Max (open files|processes|core|address)' /proc/self/limits | awk '{print $(NF-2), $(NF-1)}'; umask; awk '{print $19}' /proc/self/stat`
	before := under(t, procworker.Limits{}, script)
	got := under(t, procworker.Limits{NoFile: 123, NProc: 4567, Core: -1, AddressSpace: 1 << 30, Umask: 0o27, Nice: 7}, script)
	// In the order of /proc/PID/limits.
	for _, want := range []string{"0 0", "4567 4567", "123 123", "1073741824 1073741824", "0027", "7"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("got %q, want a line %q", got, want)
		}
	}
	if after := under(t, procworker.Limits{}, script); after != before {
		t.Errorf("without limits: %q, before: %q", after, before)
	}
	if got := under(t, procworker.Limits{Umask: -1}, "umask"); got != "0000\n" {
		t.Errorf("umask %q, want 0000", got)
	}
}

// A worker with a umask still starts in this process's directory. Not
// parallel: it changes that.
func TestUmaskFollowsTheDirectory(t *testing.T) {
	under(t, procworker.Limits{Umask: 0o27}, "true") // the thread is on its own
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if got := under(t, procworker.Limits{Umask: 0o27}, "pwd -P"); got != dir+"\n" {
		t.Errorf("pwd %q, want %q", got, dir)
	}
}

func TestLimitsThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct {
		name    string
		limits  procworker.Limits
		command string
		limit   string // of the *LimitsError; empty: it is another error
	}{
		{name: "nice", limits: procworker.Limits{Nice: 20}, limit: "nice"},
		{name: "umask", limits: procworker.Limits{Umask: 0o1000}, limit: "umask"},
		{name: "memory without a cgroup", limits: procworker.Limits{Memory: 1 << 20}, limit: "memory"},
		{name: "pids without a cgroup", limits: procworker.Limits{PIDs: 5}, limit: "pids"},
		{name: "more files than the kernel has", limits: procworker.Limits{NoFile: 1 << 40}, limit: "nofile"},
		{name: "missing program", limits: procworker.Limits{NoFile: 5}, command: filepath.Join(dir, "none")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.command == "" {
				tt.command = "true"
			}
			w := &procworker.Worker{Command: []string{tt.command}, Limits: tt.limits}
			m := mark(t, w)
			err := w.Serve(t.Context())
			if left := alive(m); len(left) > 0 {
				t.Errorf("alive after Serve: %v", left)
			}
			var spawn *procworker.SpawnError
			if !errors.As(err, &spawn) || spawn.Host() {
				t.Errorf("Serve = %v, want a *SpawnError that is not the host's", err)
			}
			var limit *procworker.LimitsError
			if got := errors.As(err, &limit); got != (tt.limit != "") || got && limit.Limit != tt.limit {
				t.Errorf("Serve = %v, want limit %q", err, tt.limit)
			}
		})
	}
}

// A child that is killed at its first breath ends like any other.
func TestLimitsTooSmallToLive(t *testing.T) {
	t.Parallel()
	w := &procworker.Worker{Command: []string{"sh", "-c", "exit 0"}, Limits: procworker.Limits{AddressSpace: 4096}}
	var exit *procworker.ExitError
	if err := serve(t, w).end(); !errors.As(err, &exit) {
		t.Errorf("Serve = %v, want *ExitError", err)
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	var out bytes.Buffer
	w := &procworker.Worker{
		Name: t.Name(), Command: []string{"sh", "-c", "id -u; id -g; id -G; kill -9 $$"}, Stdout: &out, Stderr: &out, Dir: "/",
		Credential: &procworker.Credential{UID: nobody, GID: nobody, Groups: []uint32{7, 8}},
	}
	var exit *procworker.ExitError
	if err := serve(t, w).end(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("Serve = %v", err)
	}
	who := strconv.Itoa(nobody)
	if got, want := out.String(), strings.Join([]string{who, who, who + " 7 8"}, "\n")+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFreshEnvironment(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := &procworker.Worker{Command: []string{"/usr/bin/env"}, Env: []string{}, ExtraEnv: []string{"A=1"}, Stdout: &out}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if key, _, _ := strings.Cut(line, "="); key != "A" && key != "POPPOBUILDER_SPAWN" {
			t.Errorf("the environment has %q", line)
		}
	}
}

// nproc keeps a fork bomb of a user that is not root small, it is gone when
// Serve returns, and other workers of this user do not notice.
func TestForkBombUnderNProc(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become a user of its own")
	}
	dir, err := os.MkdirTemp("/tmp", "procworker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "bomber")
	copySelf(t, program)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	w := asChild(t, "bomber")
	w.Command, w.Dir, w.IPC = []string{program}, "/", false
	// Nobody else has it, or the limit would count others' processes.
	w.Credential = &procworker.Credential{UID: 54321, GID: 54321}
	m := mark(t, w)
	if err := serve(t, w).end(); err != nil {
		t.Error(err)
	}
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

// playBomb forks as fast as it can, and so do its children. It goes on below
// the Go runtime, which would end with the first thread that it cannot have.
func playBomb(string) int {
	announce()
	pause := unix.Timespec{Nsec: 1e6}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		}
	}
}

// playBomber runs a fork bomb beside another worker.
func playBomber(string) int {
	const limit = 60
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	ready := func(w *procworker.Worker) chan error {
		up, end := make(chan struct{}), make(chan error, 1)
		go func() { end <- w.ServeReady(ctx, func() { close(up) }) }()
		<-up
		return end
	}
	other := &procworker.Worker{Command: []string{"sh", "-c", `while :; do read x <&3; echo '{"type":"note"}' >&3; done`}, IPC: true, Ready: procworker.ReadyAtOnce}
	notes := make(chan struct{}, 1)
	other.OnMessage = func(uint64, ipc.Message) { notes <- struct{}{} }
	others := ready(other)

	self, err := os.Executable()
	if err != nil {
		return 2
	}
	bomb := &procworker.Worker{
		Command: []string{self}, ExtraEnv: []string{envChild + "=bomb", "PROCWORKER_TEST_BOMB=1"}, IPC: true,
		Limits: procworker.Limits{NProc: limit},
	}
	end := ready(bomb)
	most := 0
	for most < limit/2 && ctx.Err() == nil { // it takes a moment to explode
		most = max(most, len(alive("PROCWORKER_TEST_BOMB=1")))
	}
	if most < limit/2 || most > limit {
		fmt.Fprintln(os.Stderr, "processes:", most)
		return 3
	}
	// Others go on, and others start.
	if other.Send(ctx, note{Type: "note"}) != nil {
		return 4
	}
	<-notes
	if err := (&procworker.Worker{Command: []string{"true"}}).Serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 5
	}
	bomb.Kill()
	<-end
	if left := alive("PROCWORKER_TEST_BOMB=1"); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left:", left)
		return 6
	}
	cancel()
	<-others
	return 0
}
