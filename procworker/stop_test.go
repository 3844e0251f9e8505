package procworker_test

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestStopSteps(t *testing.T) {
	t.Parallel()
	shutdown := ipc.Shutdown{TimeoutMS: 1000}
	tests := []struct {
		name   string
		role   string
		stop   procworker.Stop
		code   int
		signal string
	}{
		{name: "message", role: "echo", stop: procworker.Stop{Message: shutdown}, code: 0},
		{name: "TERM", role: "echo", code: -1, signal: "SIGTERM"},
		{name: "another signal", role: "echo", stop: procworker.Stop{Signal: syscall.SIGINT}, code: -1, signal: "SIGINT"},
		{name: "KILL at once", role: "echo", stop: procworker.Stop{Grace: -1}, code: -1, signal: "SIGKILL"},
		{name: "no time for the message", role: "echo", stop: procworker.Stop{Message: shutdown, MessageTimeout: -1}, code: -1, signal: "SIGTERM"},
		{
			name: "deaf", role: "ignore", code: -1, signal: "SIGKILL",
			stop: procworker.Stop{Message: shutdown, MessageTimeout: 10 * time.Millisecond, Grace: 10 * time.Millisecond},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := asChild(t, tt.role)
			w.SetStop(tt.stop)
			serve(t, w).awaitReady().stop()
			if exit := w.Snapshot().LastExit; exit.Code != tt.code || exit.Signal != tt.signal {
				t.Errorf("LastExit = %+v, want code %d, signal %q", exit, tt.code, tt.signal)
			}
		})
	}
}

func TestKillCutsGracesShort(t *testing.T) {
	t.Parallel()
	for _, stop := range []procworker.Stop{
		{Grace: time.Hour},
		{Message: ipc.Shutdown{}, MessageTimeout: time.Hour, Grace: time.Hour},
	} {
		w := asChild(t, "ignore")
		w.Stop = stop
		s := serve(t, w).awaitReady()
		s.cancel()
		w.Kill()
		w.Kill()
		if err := s.end(); !errors.Is(err, context.Canceled) {
			// Kill may have been seen first.
			var exit *procworker.ExitError
			if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
				t.Errorf("Serve = %v", err)
			}
		}
		if exit := w.Snapshot().LastExit; exit.Signal != "SIGKILL" {
			t.Errorf("LastExit = %+v", exit)
		}
	}
	w := asChild(t, "ignore")
	s := serve(t, w).awaitReady()
	w.Kill()
	var exit *procworker.ExitError
	if err := s.end(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("Serve = %v, want killed by SIGKILL", err)
	}
	w.Kill() // nothing runs
}

func TestKillOfOneGeneration(t *testing.T) {
	t.Parallel()
	w := asChild(t, "ignore")
	s := serve(t, w).awaitReady()
	for _, generation := range []uint64{0, 2, math.MaxUint64} {
		if w.KillGeneration(generation) {
			t.Errorf("generation %d was killed, while the first runs", generation)
		}
	}
	if !w.KillGeneration(1) {
		t.Error("the first generation was not killed")
	}
	var exit *procworker.ExitError
	if err := s.end(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("Serve = %v, want killed by SIGKILL", err)
	}
	s = serve(t, w).awaitReady()
	if w.KillGeneration(1) {
		t.Error("the first generation was killed, while the second runs")
	}
	w.KillGeneration(2)
	_ = s.end()
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+"sleep 1000")
	w.HeartbeatTimeout = 30 * time.Millisecond
	err := serve(t, w).end()
	var silent *procworker.HeartbeatError
	if !errors.As(err, &silent) {
		t.Errorf("Serve = %v, want *HeartbeatError", err)
	}

	// Any message keeps it alive.
	w = shell(t, sayReady+`for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; echo '{"type":"x"}' >&3; done; exit 6`)
	w.HeartbeatTimeout = 10 * time.Second
	var exit *procworker.ExitError
	if err := serve(t, w).end(); !errors.As(err, &exit) || exit.Code != 6 {
		t.Errorf("Serve = %v, want code 6", err)
	}
}

func TestMalformedLines(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+`i=0; while [ $i -lt 9 ]; do echo "nonsense $i" >&3; i=$((i+1)); done; exit 0`)
	var lines int
	w.OnMalformed = func(generation uint64, err *ipc.MalformedError) { lines++ }
	if err := serve(t, w).end(); err != nil || lines != 9 || w.Snapshot().Malformed != 9 {
		t.Errorf("Serve = %v after %d lines (%d)", err, lines, w.Snapshot().Malformed)
	}
	w = shell(t, sayReady+`i=0; while [ $i -lt 10 ]; do echo "nonsense $i" >&3; i=$((i+1)); done; sleep 1000`)
	var broken *procworker.ProtocolError
	if err := serve(t, w).end(); !errors.As(err, &broken) || broken.Malformed != 10 || !strings.Contains(err.Error(), "nonsense 9") {
		t.Errorf("Serve = %v, want *ProtocolError", err)
	}
}

const sayFatal = `echo '{"type":"error","error":"minor"}' >&3; echo '{"type":"error","error":"broken","fatal":true}' >&3; `

func TestFatalMessage(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+sayFatal+"sleep 1000")
	var fatal *procworker.FatalError
	if err := serve(t, w).end(); !errors.As(err, &fatal) || fatal.Reason != "broken" {
		t.Errorf("Serve = %v, want *FatalError", err)
	}
}

func TestChannelClosedByChild(t *testing.T) {
	t.Parallel()
	w := shell(t, sayReady+`exec 3>&-; exec sleep 1000`)
	w.Stop.Grace = 20 * time.Millisecond
	var left *procworker.ChannelError
	if err := serve(t, w).end(); !errors.As(err, &left) || !errors.Is(err, io.EOF) {
		t.Errorf("Serve = %v, want *ChannelError", err)
	}
}
