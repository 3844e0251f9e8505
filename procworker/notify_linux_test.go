package procworker_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// notifier returns a worker whose child is the test binary, which sends each
// line of script to its notification socket; see playNotify.
func notifier(t *testing.T, script string) *procworker.Worker {
	w := asChild(t, "notify "+script)
	w.IPC, w.Notify = false, true
	return w
}

// playNotify does each of the steps, which a "|" divides. Real newlines are
// written as ";".
func playNotify(script string) int {
	for step := range strings.SplitSeq(script, "|") {
		verb, arg, _ := strings.Cut(step, " ")
		text := strings.ReplaceAll(arg, ";", "\n")
		switch verb {
		case "send":
			if sendNotify(text, nil) != nil {
				return 91
			}
		case "child": // lets somebody else send it, and waits for it if it is to be heard
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envChild+"=notify send "+arg+"|barrier")
			if cmd.Run() != nil {
				return 92
			}
		case "barrier":
			r, w, err := os.Pipe()
			if err != nil || sendNotify("BARRIER=1", w) != nil {
				return 93
			}
			w.Close()
			if r.SetReadDeadline(time.Now().Add(hangGuard)) != nil {
				return 94
			}
			var b [1]byte
			if n, err := r.Read(b[:]); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				return 95
			}
		case "watchdog":
			if os.Getenv("WATCHDOG_USEC") != arg || os.Getenv("WATCHDOG_PID") != "" {
				return 96
			}
		case "beat": // until it is killed
			for {
				_ = sendNotify("WATCHDOG=1", nil)
				time.Sleep(10 * time.Millisecond)
			}
		case "stop":
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		case "sleep":
			time.Sleep(time.Hour)
		case "exit":
			return playExit(arg)
		}
	}
	return 0
}

func sendNotify(text string, with *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var rights []byte
	if with != nil {
		rights = unix.UnixRights(int(with.Fd()))
	}
	return unix.Sendmsg(fd, []byte(text), rights, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0)
}

func TestNotifyReady(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"by itself":          "send READY=1|sleep",
		"among other things": "send STATUS=up;READY=1;MAINPID=1;FDSTORE=1|sleep",
		"by its child":       "child READY=1|sleep",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serve(t, notifier(t, script)).awaitReady().stop()
		})
	}
}

func TestNotifyReadyOfTheDead(t *testing.T) {
	t.Parallel()
	s := serve(t, notifier(t, "send READY=1|exit 0"))
	if err := s.end(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	select {
	case <-s.ready:
	default:
		t.Error("ready was not called")
	}
}

func TestNotifyNever(t *testing.T) {
	t.Parallel()
	w := notifier(t, "send READY=0;STATUS=no|barrier|exit 0")
	var exit *procworker.ExitError
	if err := serve(t, w).end(); !errors.As(err, &exit) || exit.Code != 0 || !exit.BeforeReady {
		t.Errorf("Serve = %v, want code 0 before it was ready", err)
	}
}

// After a barrier, what was sent before it has been heeded.
func TestNotifyStatusAndBarrier(t *testing.T) {
	t.Parallel()
	w := notifier(t, "send READY=1;STATUS=at your service|barrier|send STOPPING=1|barrier|stop|sleep")
	s := serve(t, w).awaitReady()
	awaitStopped(t, w)
	if snap := w.Snapshot(); snap.Status != "at your service" || snap.State != procworker.StateStopping {
		t.Errorf("Snapshot = %+v", snap)
	}
	s.stop()
}

func TestNotifyWatchdog(t *testing.T) {
	t.Parallel()
	w := notifier(t, "watchdog 60000|send READY=1|sleep")
	w.HeartbeatTimeout = 60 * time.Millisecond
	var silent *procworker.HeartbeatError
	if err := serve(t, w).end(); !errors.As(err, &silent) {
		t.Errorf("Serve = %v, want *HeartbeatError", err)
	}
	// One that hangs for good: TERM does nothing to it, so KILL.
	w = notifier(t, "send READY=1|stop|sleep")
	w.HeartbeatTimeout = 60 * time.Millisecond
	w.Stop.Grace = 50 * time.Millisecond
	if err := serve(t, w).end(); !errors.As(err, &silent) {
		t.Errorf("Serve = %v, want *HeartbeatError", err)
	}
	w = notifier(t, "watchdog 30000000|send READY=1|beat")
	w.HeartbeatTimeout = 30 * time.Second
	serve(t, w).awaitReady().stop()
}

// A stranger that knows the address is not heard.
func TestNotifyStranger(t *testing.T) {
	t.Parallel()
	r, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer theirs.Close()
	w := &procworker.Worker{
		Name: t.Name(), Command: []string{"sh", "-c", `echo "$NOTIFY_SOCKET"; exec sleep 1000`}, Stdout: theirs, Notify: true,
	}
	s := serve(t, w)
	buf := make([]byte, 200)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command(os.Args[0])
	stranger.Env = append(os.Environ(), "NOTIFY_SOCKET="+strings.TrimSpace(string(buf[:n])), envChild+"=notify send READY=1;STATUS=ha|barrier")
	if out, err := stranger.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if snap := w.Snapshot(); snap.State == procworker.StateReady || snap.Status != "" {
		t.Errorf("Snapshot = %+v", snap)
	}
	s.stop()
}

func TestSystemdNotify(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("systemd-notify")
	if err != nil {
		t.Skip("systemd-notify is not installed")
	}
	w := &procworker.Worker{Name: t.Name(), Command: []string{"sh", "-c", program + ` --ready --status="from the shell"; exec sleep 1000`}, Notify: true, Stderr: os.Stderr}
	s := serve(t, w).awaitReady()
	if got := w.Snapshot().Status; got != "from the shell" {
		t.Errorf("Status = %q", got)
	}
	s.stop()
}
