package procworker_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

func TestReadyByLine(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(`^listening on port \d+$`)
	tests := []struct {
		name   string
		script string
		ready  bool
		stdout bool // it has a writer for it
	}{
		{name: "stdout", script: "echo booting; echo listening on port 80; exec sleep 1000", ready: true, stdout: true},
		{name: "stderr", script: "echo listening on port 80 >&2; exec sleep 1000", ready: true, stdout: true},
		{name: "nobody wants the output", script: "echo listening on port 80; exec sleep 1000", ready: true},
		{name: "in two writes", script: "printf listening; printf ' on port 80\\r\\n'; exec sleep 1000", ready: true, stdout: true},
		{name: "a last line without its end", script: "printf 'listening on port 80'; exit 0", ready: true, stdout: true},
		{name: "part of a line", script: "echo not listening on port 80; exit 0"},
		{name: "never", script: "exit 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			w := &procworker.Worker{Name: t.Name(), Command: []string{"sh", "-c", tt.script}, ReadyPattern: pattern}
			if tt.stdout {
				w.Stdout, w.Stderr = &out, &out
			}
			s := serve(t, w)
			switch {
			case !tt.ready:
				var exit *procworker.ExitError
				if err := s.end(); !errors.As(err, &exit) || !exit.BeforeReady {
					t.Errorf("Serve = %v, want an end before it was ready", err)
				}
				return
			case strings.HasSuffix(tt.script, "exit 0"):
				if err := s.end(); err != nil {
					t.Errorf("Serve = %v", err)
				}
				s.result <- nil
				select {
				case <-s.ready:
				default:
					t.Error("ready was not called")
				}
			default:
				s.awaitReady().stop()
			}
			if tt.stdout && !strings.Contains(out.String(), "listening on port 80") {
				t.Errorf("the output is lost: %q", out.String())
			}
		})
	}
}

func TestReadyByPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	w := asChild(t, "port "+address)
	w.IPC, w.ReadyAddress = false, address
	w.ReadyTimeout = hangGuard
	gate, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	w.Stdin = gate
	s := serve(t, w)
	if state := w.Snapshot().State; state == procworker.StateReady {
		t.Error("ready before the port is open")
	}
	theirs.Close() // now it opens it
	s.awaitReady().stop()

	w = &procworker.Worker{Command: []string{"sleep", "1000"}, ReadyAddress: address, ReadyTimeout: 30 * time.Millisecond}
	var late *procworker.ReadyTimeoutError
	if err := serve(t, w).end(); !errors.As(err, &late) {
		t.Errorf("Serve = %v, want *ReadyTimeoutError", err)
	}
}

// playPort opens a port when its input ends.
func playPort(address string) int {
	var b [1]byte
	os.Stdin.Read(b[:])
	l, err := net.Listen("tcp", address)
	if err != nil {
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return 2
		}
		conn.Close()
	}
}

func TestReadyModesThatCannotBe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		w    *procworker.Worker
		text string
	}{
		{&procworker.Worker{Ready: procworker.ReadyMessage}, "set IPC"},
		{&procworker.Worker{Ready: procworker.ReadyNotify}, "set Notify"},
		{&procworker.Worker{Ready: procworker.ReadyLine}, "set ReadyPattern"},
		{&procworker.Worker{Ready: procworker.ReadyPort}, "set ReadyAddress"},
		{&procworker.Worker{ReadyPattern: regexp.MustCompile("x"), Stdout: os.Stderr, Stderr: os.Stderr}, "set Stdout"},
		{&procworker.Worker{Ready: 99}, "unknown ReadyMode 99"},
	}
	for _, tt := range tests {
		tt.w.Command = []string{"true"}
		var spawn *procworker.SpawnError
		err := tt.w.Serve(t.Context())
		if !errors.As(err, &spawn) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("Serve = %v, want a *SpawnError with %q", err, tt.text)
		}
	}
}
