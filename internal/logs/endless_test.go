package logs_test

import (
	"os/exec"
	"runtime"
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

// A gigabyte without a newline passes through in pieces, and memory does not
// grow.
func TestEndlessLine(t *testing.T) {
	head, err := exec.LookPath("head")
	if err != nil {
		t.Skipf("needs head: %v", err)
	}
	const size, most = 1 << 30, 16 << 20
	var sink pieces
	out := logs.NewLines(&sink, 0)
	w := &procworker.Worker{Command: []string{head, "-c", "1073741824", "/dev/zero"}, Stdout: out}
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
