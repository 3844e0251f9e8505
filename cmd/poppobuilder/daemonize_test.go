package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// child is a daemon as background.start sees it.
func child(role string) int {
	ready, environ, err := readinessFromEnv(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	for _, entry := range environ {
		if strings.HasPrefix(entry, readyFDVariable) {
			return exitFailure
		}
	}
	switch role {
	case "ready":
		ready.ready()
		waitForTerm()
	case "refuses":
		err := failf(codeDisabled, exitNotConfigured, "not today")
		ready.failed(err)
		return exitNotConfigured
	case "dies":
		fmt.Println("first line")
		fmt.Fprintln(os.Stderr, "last words")
		return 42
	case "dies without a word":
		return 43
	case "hangs":
		waitForTerm()
		os.WriteFile(os.Getenv("POPPOBUILDER_TEST_DOWN"), nil, 0o600) // until the test takes note
		os.WriteFile(os.Getenv("POPPOBUILDER_TEST_ENDED"), nil, 0o600)
	}
	return 0
}

// waitForTerm says that it listens and blocks until SIGTERM.
func waitForTerm() {
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	if fifo := os.Getenv("POPPOBUILDER_TEST_UP"); fifo != "" {
		if err := os.WriteFile(fifo, []byte("up\n"), 0o600); err != nil {
			os.Exit(exitFailure)
		}
	}
	<-terms
}

// testBackground describes a child in a role.
func testBackground(t *testing.T, role string, environ ...string) background {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return background{
		Command: []string{self},
		Environ: append(append(os.Environ(), childVariable+"="+role), environ...),
		Home:    dir,
		Log:     filepath.Join(dir, "logs", "daemon.log"),
	}
}

func TestBackgroundReady(t *testing.T) {
	t.Parallel()
	pid, err := testBackground(t, "ready").start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	session, err := unix.Getsid(pid)
	if err != nil {
		t.Fatal(err)
	}
	if session != pid {
		t.Errorf("the daemon (PID %d) is in session %d, want one of its own", pid, session)
	}
}

func TestBackgroundRefuses(t *testing.T) {
	t.Parallel()
	_, err := testBackground(t, "refuses").start(t.Context())
	code, exit := classify(err)
	if code != codeDisabled || exit != exitNotConfigured || errText(err) != "not today" {
		t.Errorf("got %q (%s, exit %d), want the daemon's own error", errText(err), code, exit)
	}
}

func TestBackgroundDies(t *testing.T) {
	t.Parallel()
	b := testBackground(t, "dies")
	if err := os.MkdirAll(filepath.Dir(b.Log), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.Log, []byte("of an earlier daemon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.start(t.Context())
	if !errors.Is(err, errSilent) {
		t.Fatalf("got %v, want %v", err, errSilent)
	}
	for _, want := range []string{"exit status 42", "first line\n", "last words", b.Log} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %q", want, err)
		}
	}
	if strings.Contains(err.Error(), "earlier") {
		t.Errorf("%q has words of an earlier daemon", err)
	}
}

func TestBackgroundDiesWithoutAWord(t *testing.T) {
	t.Parallel()
	b := testBackground(t, "dies without a word")
	_, err := b.start(t.Context())
	if want := errSilent.Error() + " (exit status 43); see " + b.Log; errText(err) != want {
		t.Errorf("got %q, want %q", errText(err), want)
	}
}

func TestBackgroundNoSuchProgram(t *testing.T) {
	t.Parallel()
	b := testBackground(t, "ready")
	b.Command = []string{filepath.Join(t.TempDir(), "gone")}
	if _, err := b.start(t.Context()); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got %v, want an error that names the program", err)
	}
}

// Ctrl-C while the daemon starts leaves no daemon behind.
func TestBackgroundInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	up, down, ended := filepath.Join(dir, "up"), filepath.Join(dir, "down"), filepath.Join(dir, "ended")
	for _, fifo := range []string{up, down} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := testBackground(t, "hangs", "POPPOBUILDER_TEST_UP="+up, "POPPOBUILDER_TEST_DOWN="+down, "POPPOBUILDER_TEST_ENDED="+ended)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		os.ReadFile(up) // until the child listens
		cancel()
		os.ReadFile(down) // until it has been told
	}()
	_, err := b.start(ctx)
	if code, exit := classify(err); code != codeInterrupted || exit != exitInterrupted {
		t.Errorf("got %v (%s, exit %d), want interrupted", err, code, exit)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Errorf("the daemon was not told to stop, or start did not wait for it: %v", err)
	}
}

func TestReadReport(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, input string
		want        readyReport
		wantErr     string
	}{
		{name: "ready", input: `{"ready":true,"pid":7}` + "\n", want: readyReport{Ready: true, PID: 7}},
		{name: "error", input: `{"error":"no","code":"x","exit":6}` + "\n", want: readyReport{Error: "no", Code: "x", Exit: 6}},
		{name: "nothing", wantErr: errSilent.Error()},
		{name: "cut short", input: `{"ready":true`, wantErr: errSilent.Error()},
		{name: "no JSON", input: "hello\n", wantErr: "read the daemon's report: invalid character 'h' looking for beginning of value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := readReport(strings.NewReader(tt.input))
			if errText(err) != tt.wantErr || got != tt.want {
				t.Errorf("got %+v, %v; want %+v, %q", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestReadinessFromEnv(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"x", "2", "-1", "98765"} {
		_, _, err := readinessFromEnv([]string{readyFDVariable + "=" + value})
		if err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s=%s: got %v, want an error that names it", readyFDVariable, value, err)
		}
	}
	ready, environ, err := readinessFromEnv([]string{"A=1"})
	if ready != nil || len(environ) != 1 || err != nil {
		t.Errorf("got %v, %v, %v; want nobody who waits", ready, environ, err)
	}
	if err := ready.ready(); err != nil { // nobody waits
		t.Error(err)
	}
}

// A daemon that became ready after its starter was gone goes on.
func TestReadinessNobodyWaits(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	r := &readiness{pipe: write}
	if err := r.ready(); err != nil {
		t.Error(err)
	}
	if err := r.failed(errors.New("later")); err != nil {
		t.Error(err)
	}
}
