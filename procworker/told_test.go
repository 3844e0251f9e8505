package procworker_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

func TestStateText(t *testing.T) {
	t.Parallel()
	for state, want := range map[procworker.State]string{
		procworker.StateStopped: "stopped", procworker.StateStarting: "starting",
		procworker.StateReady: "ready", procworker.StateStopping: "stopping", 7: "State(7)",
	} {
		text, err := json.Marshal(procworker.Snapshot{State: state})
		if state.String() != want || err != nil || !strings.Contains(string(text), `"State":"`+want+`"`) {
			t.Errorf("State is %q, in JSON %s, %v, want %q", state, text, err, want)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		`worker "w" (pid 5) exited with code 3`:                                                          &procworker.ExitError{Name: "w", PID: 5, Code: 3},
		`worker "w" (pid 5) exited with code 0 before it was ready`:                                      &procworker.ExitError{Name: "w", PID: 5, BeforeReady: true},
		`worker "w" (pid 5) was killed by SIGSEGV (core dumped)`:                                         &procworker.ExitError{Name: "w", PID: 5, Code: -1, Signal: syscall.SIGSEGV, CoreDump: true},
		`worker "w" (pid 5) was killed by SIGKILL (out of memory, by its limit) before it was ready`:     &procworker.ExitError{Name: "w", PID: 5, Code: -1, Signal: syscall.SIGKILL, OOMKilled: true, BeforeReady: true},
		`worker "w" was not ready within 2s`:                                                             &procworker.ReadyTimeoutError{Name: "w", Timeout: 2 * time.Second},
		`worker "w" sent nothing for 3s`:                                                                 &procworker.HeartbeatError{Name: "w", Timeout: 3 * time.Second},
		`worker "w" asked to be replaced: tired`:                                                         &procworker.FatalError{Name: "w", Reason: "tired"},
		`worker "w" left its channel and did not exit: EOF`:                                              &procworker.ChannelError{Name: "w", Err: io.EOF},
		`worker "w" sent 10 malformed lines; the last one: unexpected EOF`:                               &procworker.ProtocolError{Name: "w", Malformed: 10, Last: io.ErrUnexpectedEOF},
		`worker "w": start "p": permission denied; check that it may be executed (chmod +x)`:             &procworker.SpawnError{Name: "w", Command: "p", Err: syscall.EACCES},
		`worker "w": start "p": too many open files; the machine is short of something, try again later`: &procworker.SpawnError{Name: "w", Command: "p", Err: syscall.EMFILE},
		`worker "w": a function for its messages panicked: 5`:                                            &procworker.PanicError{Name: "w", Value: 5},
		`limit nofile: operation not permitted`:                                                          &procworker.LimitsError{Limit: "nofile", Err: syscall.EPERM},
	} {
		if err.Error() != want {
			t.Errorf("%T says %q, want %q", err, err, want)
		}
	}
	for _, test := range []struct{ err, want error }{
		{&procworker.ChannelError{Err: io.EOF}, io.EOF},
		{&procworker.ProtocolError{Last: io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
		{&procworker.SpawnError{Err: syscall.EACCES}, os.ErrPermission},
		{&procworker.LimitsError{Err: syscall.EPERM}, os.ErrPermission},
		{&procworker.PanicError{Value: io.EOF}, io.EOF},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%T is not %v", test.err, test.want)
		}
	}
	if err := errors.Unwrap(&procworker.PanicError{Value: "text"}); err != nil {
		t.Errorf("what panicked with a text is %v", err)
	}
}

// A writer that hangs costs the program that Finishes a Capture its patience,
// and what it has not taken; of that it is told.
func TestCaptureOfAWriterThatHangs(t *testing.T) {
	t.Parallel()
	r, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out := gatedBuffer{gate: make(chan struct{})}
	gate := make(chan struct{})
	out.gate = gate
	c := procworker.NewCapture(r, &out)
	const written = "one\ntwo\nthree\nin part"
	if _, err := io.WriteString(child, written); err != nil {
		t.Fatal(err)
	}
	child.Close()
	select {
	case <-c.Losing():
		t.Error("something is lost before the end")
	default:
	}
	c.Finish(10 * time.Millisecond)
	lines, lost := c.Dropped()
	select {
	case <-c.Losing():
		if lost == 0 {
			t.Error("losing nothing was told")
		}
	default:
		if lost > 0 {
			t.Error("a loss was not told")
		}
	}
	select {
	case <-c.Done():
		t.Error("Done while a Write hangs")
	default:
	}
	close(gate)
	<-c.Done()
	// A Write that had begun goes on; it may have begun with all of it.
	if got := out.buf.String(); got != written[:len(written)-int(lost)] || lines != uint64(countLines(written[len(got):])) {
		t.Errorf("got %q, and %d lines of %d bytes dropped", got, lines, lost)
	}
}

func countLines(text string) (n int) {
	for range strings.Lines(text) {
		n++
	}
	return n
}

// Whoever comes too late with a Kill or a signal hits nothing, and the next
// generation neither.
func TestKillAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := &procworker.Worker{Command: []string{"true"}}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	w.Kill()
	if w.KillGeneration(1) {
		t.Error("KillGeneration of one that has ended")
	}
	if err := w.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want os.ErrProcessDone", err)
	}
	if err := w.SendTo(t.Context(), 1, note{Type: "note"}); !errors.Is(err, procworker.ErrStaleGeneration) {
		t.Errorf("SendTo = %v, want ErrStaleGeneration", err)
	}
	if err := serve(t, w).end(); err != nil || w.Snapshot().Generation != 2 {
		t.Errorf("the next one: %v, %+v", err, w.Snapshot())
	}
}
