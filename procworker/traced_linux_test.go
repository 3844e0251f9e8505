package procworker_test

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The end of a traced child is told to its tracer first. This one does not care,
// and is the child's own.
func TestSubreaperOfATracedChild(t *testing.T) {
	becomeSubreaper(t)
	w := asChild(t, "traced")
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	status := "/proc/" + strconv.Itoa(w.Snapshot().PID) + "/status"
	for {
		text, err := os.ReadFile(status)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "TracerPid:\t0\n") {
			break
		}
		time.Sleep(time.Millisecond) // nothing tells
	}
	if err := w.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.end()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

// A tracer that wants to know of the end of what it traces, as strace does, is
// stopped when the tree is killed, and cannot let it die.
func TestTracerInTheTree(t *testing.T) {
	t.Parallel()
	w := asChild(t, "strace")
	m := mark(t, w)
	w.Stop.Grace = 20 * time.Millisecond
	serve(t, w).awaitReady().stop()
	if left := alive(m); len(left) > 0 {
		t.Errorf("alive after Serve: %v", left)
	}
}

func playStrace(string) int {
	signal.Ignore(syscall.SIGTERM)
	runtime.LockOSThread()
	traced := exec.Command("sleep", "1000")
	traced.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if traced.Start() != nil {
		return 2
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(traced.Process.Pid), 0, unix.PTRACE_O_TRACEEXIT, 0, 0)
	if errno != 0 {
		return 3
	}
	announce()
	select {}
}

// playTraced is traced once it has said that it is ready: any signal stops it then.
func playTraced(string) int {
	r, gate, err := os.Pipe()
	if err != nil {
		return 2
	}
	tracer := exec.Command(os.Args[0])
	tracer.Env = append(os.Environ(), envChild+"=tracer "+strconv.Itoa(os.Getpid()))
	tracer.Stdin = r
	tracer.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	_ = unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0) // for Yama; without it, all may
	if tracer.Start() != nil {
		return 3
	}
	announce()
	gate.Close()
	select {}
}

func playTracer(arg string) int {
	pid, err := strconv.Atoi(arg)
	if err != nil {
		return 2
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	runtime.LockOSThread()
	if unix.PtraceSeize(pid) != nil {
		return 3
	}
	select {}
}

// A debugger from outside holds dead processes back. They cost one wait in all,
// which is not for ever.
func TestTracerFromOutside(t *testing.T) {
	becomeSubreaper(t)
	w := shell(t, `for i in 1 2 3 4 5 6; do (setsid sh -c 'echo up; exec sleep 1000' & ) ; done; `+sayReady+"exec sleep 1000")
	m := mark(t, w)
	s := serve(t, w).awaitReady()
	var held []string
	for len(held) < 6 {
		held = held[:0]
		for _, pid := range alive(m) {
			if group, err := syscall.Getpgid(pid); err == nil && group == pid && pid != w.Snapshot().PID {
				held = append(held, strconv.Itoa(pid))
			}
		}
	}
	r, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tracer := exec.Command(os.Args[0])
	tracer.Env = append(os.Environ(), envChild+"=holder "+strings.Join(held, ","))
	tracer.Stdout = theirs
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		_ = tracer.Process.Kill()
		_ = tracer.Wait()
	})
	said := make([]byte, 100)
	n, _ := r.Read(said)
	if text := string(said[:n]); text != "up" {
		t.Skip("no process of another may be traced here: ", text)
	}
	if err := w.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.end()
	if left := alive(m); len(left) != len(held) {
		t.Errorf("alive after Serve: %v, want those that are held: %v", left, held)
	}
	_ = tracer.Process.Kill()
	for deadline := time.Now().Add(hangGuard); len(alive(m)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("alive without their tracer: %v", alive(m))
		}
	}
}

// playHolder traces processes so that their end waits for it, which does not care.
func playHolder(arg string) int {
	runtime.LockOSThread()
	for word := range strings.SplitSeq(arg, ",") {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return 2
		}
		if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, unix.PTRACE_O_TRACEEXIT, 0, 0); errno != 0 {
			_, _ = os.Stdout.WriteString(errno.Error())
			return 3
		}
	}
	_, _ = os.Stdout.WriteString("up")
	select {}
}

// A child may leave the group that it was given, for one of its session.
func TestChildInAnotherGroup(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"migrant", "migrant ignores"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w := asChild(t, role)
			m := mark(t, w)
			w.Stop.Grace = hangGuard
			if role != "migrant" {
				w.Stop.Grace = 20 * time.Millisecond
			}
			serve(t, w).awaitReady().stop()
			if killed := w.Snapshot().LastExit.Signal == "SIGKILL"; killed != (role != "migrant") {
				t.Errorf("it was killed: %v", killed)
			}
			if left := alive(m); len(left) > 0 {
				t.Errorf("alive after Serve: %v", left)
			}
		})
	}
}

func playMigrant(arg string) int {
	group, err := syscall.Getpgid(os.Getppid())
	if err != nil || syscall.Setpgid(0, group) != nil {
		return 2
	}
	if arg != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	announce()
	select {}
}
