package procworker_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestServeExit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script string
		code   int
		signal syscall.Signal
		before bool
	}{
		{name: "code 0", script: sayReady + "exit 0"},
		{name: "code 3", script: sayReady + "exit 3", code: 3},
		{name: "code 255", script: sayReady + "exit 255", code: 255},
		{name: "SIGKILL", script: sayReady + "kill -9 $$", code: -1, signal: syscall.SIGKILL},
		{name: "SIGTERM", script: sayReady + "kill $$", code: -1, signal: syscall.SIGTERM},
		{name: "code 0 before ready", script: "exit 0", before: true},
		{name: "code 4 before ready", script: "exit 4", code: 4, before: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := shell(t, tt.script)
			err := serve(t, w).end()
			exit := w.Snapshot().LastExit
			if exit == nil || exit.PID == 0 || exit.Code != tt.code || (exit.Signal != "") != (tt.signal != 0) || exit.At.IsZero() {
				t.Errorf("LastExit = %+v", exit)
			}
			if tt.code == 0 && !tt.before {
				if err != nil || exit.Err != "" {
					t.Errorf("Serve = %v (%q), want nil", err, exit.Err)
				}
				return
			}
			var got *procworker.ExitError
			if !errors.As(err, &got) {
				t.Fatalf("Serve = %v, want *ExitError", err)
			}
			if got.Code != tt.code || got.Signal != tt.signal || got.BeforeReady != tt.before || got.PID != exit.PID || got.Name != t.Name() {
				t.Errorf("got %+v", got)
			}
			if exit.Err != err.Error() {
				t.Errorf("LastExit.Err = %q, want %q", exit.Err, err)
			}
			if got.MaxRSS < 100<<10 || got.MaxRSS > 1<<30 {
				t.Errorf("MaxRSS = %d bytes", got.MaxRSS)
			}
		})
	}
}

func TestServeAgainAndSnapshot(t *testing.T) {
	t.Parallel()
	w := asChild(t, "echo")
	if s := w.Snapshot(); s.State != procworker.StateStopped || s.PID != 0 || s.Generation != 0 || s.LastExit != nil || s.Name != t.Name() {
		t.Fatalf("before: %+v", s)
	}
	for generation := uint64(1); generation <= 2; generation++ {
		s := serve(t, w).awaitReady()
		snap := w.Snapshot()
		if snap.State != procworker.StateReady || snap.PID == 0 || snap.Generation != generation || time.Since(snap.StartedAt) > time.Hour {
			t.Errorf("running: %+v", snap)
		}
		if err := w.Serve(t.Context()); !errors.Is(err, procworker.ErrServing) {
			t.Errorf("second Serve = %v, want ErrServing", err)
		}
		s.stop()
		if after := w.Snapshot(); after.State != procworker.StateStopped || after.PID != 0 || after.LastExit.PID != snap.PID || after.LastExit.Signal != "SIGTERM" {
			t.Errorf("after: %+v %+v", after, after.LastExit)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Serve(ctx); !errors.Is(err, context.Canceled) || w.Snapshot().Generation != 2 {
		t.Errorf("Serve with a dead ctx = %v, generation %d", err, w.Snapshot().Generation)
	}
}

func TestReadyGate(t *testing.T) {
	t.Parallel()
	w := shell(t, `read line <&3; exit 9`)
	w.Command[2] = `while ! [ -e "$GATE" ]; do sleep 0.01; done; ` + sayReady + `read line <&3; echo "$line" >&3; sleep 1000`
	gate := filepath.Join(t.TempDir(), "gate")
	w.ExtraEnv = []string{"GATE=" + gate}
	messages := collect(w)
	if err := w.Send(t.Context(), note{Type: "note"}); !errors.Is(err, procworker.ErrNotReady) {
		t.Errorf("Send before Serve = %v, want ErrNotReady", err)
	}
	s := serve(t, w)
	if err := w.Send(t.Context(), note{Type: "note"}); !errors.Is(err, procworker.ErrNotReady) {
		t.Errorf("Send before ready = %v, want ErrNotReady", err)
	}
	if state := w.Snapshot().State; state == procworker.StateReady {
		t.Errorf("state = %v before the message", state)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.awaitReady()
	if err := w.Send(t.Context(), note{Type: "note", N: 42}); err != nil {
		t.Fatal(err)
	}
	if n := next(t, messages); n.N != 42 {
		t.Errorf("got %+v", n)
	}
	s.stop()
	if err := w.Send(t.Context(), note{Type: "note"}); !errors.Is(err, procworker.ErrNotReady) {
		t.Errorf("Send after Serve = %v, want ErrNotReady", err)
	}
}

func TestReadyModes(t *testing.T) {
	t.Parallel()
	w := shell(t, "sleep 1000")
	w.Ready = procworker.ReadyAtOnce
	serve(t, w).awaitReady().stop()

	w = shell(t, "sleep 1000")
	w.IPC = false
	s := serve(t, w).awaitReady()
	if err := w.Send(t.Context(), note{Type: "note"}); err == nil || errors.Is(err, procworker.ErrNotReady) {
		t.Errorf("Send without IPC = %v", err)
	}
	s.stop()
}

func TestReadyTimeout(t *testing.T) {
	t.Parallel()
	w := shell(t, "sleep 1000")
	w.ReadyTimeout = 20 * time.Millisecond
	err := serve(t, w).end()
	var late *procworker.ReadyTimeoutError
	if !errors.As(err, &late) || late.Timeout != w.ReadyTimeout {
		t.Errorf("Serve = %v, want *ReadyTimeoutError", err)
	}
	if exit := w.Snapshot().LastExit; exit.Signal != "SIGTERM" || exit.Err != err.Error() {
		t.Errorf("LastExit = %+v", exit)
	}
}

func TestMessagesBothWays(t *testing.T) {
	t.Parallel()
	w := asChild(t, "echo")
	messages := collect(w)
	s := serve(t, w).awaitReady()
	const count = 500
	go func() {
		for i := range count {
			if err := w.Send(context.Background(), note{Type: "note", N: i}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i := range count {
		if n := next(t, messages); n.N != i {
			t.Fatalf("got %d, want %d", n.N, i)
		}
	}
	// The longest message there is, there and back.
	long := note{Type: "note", N: 1}
	long.Text = strings.Repeat("a", ipc.MaxMessage-len(`{"type":"note","n":1,"text":""}`)-1)
	if err := w.Send(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	if n := next(t, messages); n.Text != long.Text {
		t.Errorf("got %d bytes, want %d", len(n.Text), len(long.Text))
	}
	long.Text += "a"
	var tooLong *ipc.TooLongError
	if err := w.Send(t.Context(), long); !errors.As(err, &tooLong) {
		t.Errorf("Send = %v, want *TooLongError", err)
	}
	s.stop()
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	w := asChild(t, "echo")
	type heard struct {
		generation uint64
		pid        int
	}
	hello := make(chan heard, 10)
	w.OnMessage = func(generation uint64, m ipc.Message) {
		var ready ipc.Ready
		if m.Type == "ready" && m.Decode(&ready) == nil {
			// The hook of "ready" may answer at once.
			if err := w.SendTo(context.Background(), generation, note{Type: "note"}); err != nil {
				t.Error(err)
			}
			hello <- heard{generation, ready.PID}
		}
	}
	for generation := uint64(1); generation <= 3; generation++ {
		s := serve(t, w).awaitReady()
		if h := <-hello; h.generation != generation || h.pid != w.Snapshot().PID {
			t.Errorf("heard %+v, want generation %d", h, generation)
		}
		for _, stale := range []uint64{0, generation - 1, generation + 1} {
			if err := w.SendTo(t.Context(), stale, note{Type: "note"}); !errors.Is(err, procworker.ErrStaleGeneration) {
				t.Errorf("SendTo %d = %v, want ErrStaleGeneration", stale, err)
			}
		}
		s.stop()
		if err := w.SendTo(t.Context(), generation, note{Type: "note"}); !errors.Is(err, procworker.ErrStaleGeneration) {
			t.Errorf("SendTo = %v, want ErrStaleGeneration", err)
		}
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	w := shell(t, `trap 'echo "{\"type\":\"note\",\"n\":1}" >&3' HUP; `+sayReady+"while :; do sleep 0.01; done")
	messages := collect(w)
	if err := w.Signal(syscall.SIGHUP); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want os.ErrProcessDone", err)
	}
	s := serve(t, w).awaitReady()
	if err := w.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if n := next(t, messages); n.N != 1 {
		t.Errorf("got %+v", n)
	}
	s.stop()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+`echo '{"type":"metrics","metrics":{"a":1,"b":2.5}}' >&3; echo '{"type":"note"}' >&3; sleep 1000`)
	messages := collect(w)
	s := serve(t, w).awaitReady()
	next(t, messages)
	next(t, messages)
	if m := w.Snapshot().Metrics; m["a"] != 1 || m["b"] != 2.5 {
		t.Errorf("Metrics = %v", m)
	}
	s.stop()
}

func TestNodeScript(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	w := &procworker.Worker{
		Command: []string{node, "-e", `
			process.on('message', (m) => {
				if (m.type === 'note') process.send({type: 'note', n: m.n + 1, text: m.text});
				if (m.type === 'shutdown') process.exit(0);
			});
			process.send({type: 'ready'});`},
		IPC: true, Stderr: os.Stderr, ReadyTimeout: hangGuard,
		Stop: procworker.Stop{Message: ipc.Shutdown{}, MessageTimeout: hangGuard},
	}
	messages := collect(w)
	s := serve(t, w).awaitReady()
	text := strings.Repeat("käse\n", 10_000)
	for i := range 20 {
		if err := w.Send(t.Context(), note{Type: "note", N: i, Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if n := next(t, messages); n.N != i+1 || n.Text != text {
			t.Fatalf("got %d with %d bytes", n.N, len(n.Text))
		}
	}
	s.stop()
	if exit := w.Snapshot().LastExit; exit.Code != 0 {
		t.Errorf("LastExit = %+v", exit)
	}
}
