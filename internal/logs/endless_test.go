package logs_test

import (
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
)

// A pieces counts bytes and notes the longest line.
type pieces struct{ bytes, longest int }

func (s *pieces) Write(p []byte) (int, error) {
	s.bytes += len(p)
	s.longest = max(s.longest, len(p))
	return len(p), nil
}

// What has no newline passes through in pieces, and memory does not grow. A
// gigabyte does the same, but takes the race detector too long.
func TestEndlessLine(t *testing.T) {
	head, err := exec.LookPath("head")
	if err != nil {
		t.Skipf("needs head: %v", err)
	}
	const size, most = 128 << 20, 16 << 20
	var sink pieces
	out := logs.NewLines(&sink, 0)
	w := &procworker.Worker{Command: []string{head, "-c", strconv.Itoa(size), "/dev/zero"}, Stdout: out}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := w.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if dropped := w.Snapshot().DroppedOutput; dropped > 0 {
		t.Errorf("dropped %d bytes", dropped)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("allocated %d bytes, want at most %d", got, most)
	}
	lines := (size + logs.DefaultMaxLine - 1) / logs.DefaultMaxLine
	if sink.longest != logs.DefaultMaxLine+1 || sink.bytes != size+lines {
		t.Errorf("got %d bytes, the longest line of %d", sink.bytes, sink.longest)
	}
}
