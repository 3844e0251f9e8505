package worker_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// A log that hangs holds up neither the command nor its end. What it does not
// take is counted in lines, and told while the run goes on.
func TestLogThatHangs(t *testing.T) {
	t.Parallel()
	const lines = 200_000 // more than is kept for a slow log
	m := startWorker(t, "worker")
	spec := newRun(t, fmt.Sprint("lines ", lines))
	if err := unix.Mkfifo(spec.Log, 0o600); err != nil { // nobody opens it
		t.Fatal(err)
	}
	m.send(ipc.Run{Run: spec})
	receive[ipc.Started](m)
	told, err := m.conn.Receive()
	if err != nil || told.Type != (ipc.Metrics{}).MessageType() || !strings.Contains(string(told.Raw), ipc.LostLines) {
		t.Fatalf("got %s, %v; want lost lines", told.Raw, err)
	}
	if got := receive[ipc.Error](m); !strings.HasSuffix(got.Error, spec.Log+" takes nothing") {
		t.Errorf("got %q", got.Error)
	}
	f := m.finished(spec)
	check(t, f, "code 0")

	// What was under way when it hung arrives when it goes on.
	log, err := os.Open(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	whole, last := 0, -1
	for s := bufio.NewScanner(log); s.Scan(); {
		var n int
		if _, err := fmt.Sscanf(s.Text(), "line %d", &n); err != nil || len(s.Text()) < len("line 0000000") {
			continue // cut by the end of waiting, and counted as lost
		}
		if n <= last {
			t.Fatalf("%d after %d", n, last)
		}
		last = n
		whole++
	}
	if f.LostLines == 0 || int64(whole)+f.LostLines != lines {
		t.Errorf("%d lines and %d lost, want %d in all", whole, f.LostLines, lines)
	}
	m.send(ipc.Shutdown{})
	if code := m.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
