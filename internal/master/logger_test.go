package master

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/config"
)

func TestFormatAndLevelChange(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	level := new(slog.LevelVar)
	h := newFormatHandler(&out, level)
	log := slog.New(h)
	derived := log.With("a", 1).WithGroup("g")
	log.Debug("hidden")
	derived.Info("first", "b", 2)
	h.set("json")
	level.Set(slog.LevelDebug)
	log.Debug("second")
	derived.Info("third", "b", 2)
	h.set("text")
	derived.Info("fourth", "b", 2)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []string{
		`level=INFO msg=first a=1 g.b=2`,
		`"level":"DEBUG","msg":"second"}`,
		`"level":"INFO","msg":"third","a":1,"g":{"b":2}}`,
		`level=INFO msg=fourth a=1 g.b=2`,
	} {
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("line %d is %s, want it to end in %s", i, lines[i], want)
		}
	}
}

// A stuckWriter takes one write, and does not return from it.
type stuckWriter struct{ release chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.release
	return len(p), nil
}

// A terminal that does not read must not stop the daemon.
func TestConsoleThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	stuck := stuckWriter{make(chan struct{})}
	path := filepath.Join(t.TempDir(), "daemon.log")
	log, err := newLogger(path, stuck, config.Logging{Level: "info", Format: "text"})
	if err != nil {
		t.Fatal(err)
	}
	const lines = 2 * consoleQueue
	for i := range lines {
		log.Info(fmt.Sprintf("line %d", i))
	}
	// One line is in the writer, if it got there in time.
	if got := log.dropped(); got < lines-consoleQueue-1 || got > lines-consoleQueue {
		t.Errorf("%d lines dropped", got)
	}
	log.close()
	close(stuck.release)
	<-log.console.closed
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != lines {
		t.Errorf("the file has %d lines, want %d; %v", strings.Count(string(text), "\n"), lines, err)
	}
}

func TestConsoleIsWrittenToTheEnd(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	log, err := newLogger(filepath.Join(t.TempDir(), "daemon.log"), &out, config.Logging{Level: "info", Format: "text"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range consoleQueue {
		log.Info(fmt.Sprintf("line %d", i))
	}
	log.close()
	if got := strings.Count(out.String(), "\n"); got != consoleQueue {
		t.Errorf("%d lines, want %d", got, consoleQueue)
	}
}
