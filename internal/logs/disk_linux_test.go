package logs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// smallDisk returns a directory with room for size bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Skipf("needs a mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestFullDiskDropsWholeLinesAndCountsThem(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 64<<10)
	path := filepath.Join(dir, "a.log")
	w := open(t, path, logs.Limits{})
	got := follow(t, path, -1, nil)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}

	const lines = 5000
	for i := 1; i <= lines; i++ {
		write(t, w, numbered(i, i))
	}
	full := w.Stats()
	kept := lines - int(full.DroppedLines)
	if full.DroppedLines == 0 || full.LastError == nil || full.DroppedBytes != full.DroppedLines*13 {
		t.Errorf("stats: got %+v, want whole lines dropped", full)
	}
	if got := content(t, path); got != numbered(1, kept) {
		t.Errorf("full disk: got %d lines that end with %q, want %d", strings.Count(got, "\n"), tail(got), kept)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(t, w, numbered(lines+1, lines+1))
	want := numbered(1, kept) + numbered(lines+1, lines+1)
	if got := content(t, path); got != want {
		t.Errorf("with room again: got an end of %q", tail(got))
	}
	if got := w.Stats(); got.DroppedLines != full.DroppedLines {
		t.Errorf("stats: got %+v, want no more dropped than %+v", got, full)
	}
	got.waitFor(t, want)
}

// On a disk that cannot hold what the limits allow, rotating goes on.
func TestRotationOnAFullDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(smallDisk(t, 32<<10), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 8 << 10, MaxFiles: 100})
	for i := 1; i <= 20000; i++ {
		write(t, w, numbered(i, i))
	}
	if w.Stats().DroppedLines == 0 {
		t.Error("nothing dropped, want the disk full")
	}
	w.SetLimits(logs.Limits{MaxSize: 4 << 10, MaxFiles: 1})
	write(t, w, "room again\n")
	w.Close()
	all := content(t, path)
	if !strings.HasSuffix(all, "room again\n") {
		t.Errorf("got an end of %q", tail(all))
	}
	for line := range strings.Lines(all) {
		if len(line) != 13 && line != "room again\n" {
			t.Fatalf("cut line %q", line)
		}
	}
}
