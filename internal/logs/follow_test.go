package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// hang is how long a test waits for what must come.
const hang = 30 * time.Second

// A received is what a Follow in the background has copied so far.
type received struct {
	started chan struct{} // has a token when the first Write has begun
	gate    chan struct{} // closed to let Writes through; nil: open

	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // has a token after a Write
}

func (r *received) Write(p []byte) (int, error) {
	signal(r.started)
	if r.gate != nil {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf.Write(p)
	signal(r.grown)
	return len(p), nil
}

// signal puts a token in a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *received) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// follow follows a log until the test ends.
func follow(t *testing.T, path string, lines int, gate chan struct{}) *received {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &received{started: make(chan struct{}, 1), gate: gate, grown: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() { done <- logs.Follow(ctx, r, path, logs.FollowOptions{Lines: lines, Follow: true}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: got %v, want nil after the context's end", err)
		}
	})
	return r
}

// waitFor waits until everything that was copied is want.
func (r *received) waitFor(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(hang)
	for r.String() != want {
		select {
		case <-r.grown:
		case <-timeout:
			got := r.String()
			t.Fatalf("got %d bytes that end with %q, want %d that end with %q",
				len(got), tail(got), len(want), tail(want))
		}
	}
}

func tail(s string) string { return s[max(len(s)-80, 0):] }

func TestFollowAcrossRotations(t *testing.T) {
	t.Parallel()
	const lines = 2000
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 100})
	write(t, w, numbered(1, 3))
	got := follow(t, path, 2, nil)
	got.waitFor(t, numbered(2, 3))
	for i := 4; i <= lines; i++ {
		write(t, w, numbered(i, i))
	}
	got.waitFor(t, numbered(2, lines))
	w.Close()
	if n := len(rotatedFiles(t, path)); n != (lines-1)/7 {
		t.Errorf("%d rotations, want %d", n, (lines-1)/7)
	}
}

// Followers that begin in the middle of a burst get all of it, too.
func TestFollowFromTheMiddleOfABurst(t *testing.T) {
	t.Parallel()
	const lines, followers = 3000, 5
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 1 << 10})
	var all []*received
	for i := 1; i <= lines; i++ {
		write(t, w, numbered(i, i))
		if i%(lines/followers) == 0 {
			all = append(all, follow(t, path, -1, nil))
		}
	}
	for _, got := range all {
		got.waitFor(t, numbered(1, lines))
	}
}

// The follower is held up while its file is rotated and compressed, and so
// are those that come after it.
func TestFollowCatchesUp(t *testing.T) {
	t.Parallel()
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed %t", compressed), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.log")
			w := open(t, path, logs.Limits{MaxSize: 300})
			write(t, w, numbered(1, 3))
			gate := make(chan struct{})
			got := follow(t, path, -1, gate)
			<-got.started
			write(t, w, numbered(4, 200))
			if compressed {
				compressAll(t, path, w)
			}
			close(gate)
			got.waitFor(t, numbered(1, 200))
			write(t, w, numbered(201, 201))
			got.waitFor(t, numbered(1, 201))
		})
	}
}

// compressAll waits until the rotated files of a log are compressed.
func compressAll(t *testing.T, path string, w *logs.Writer) {
	t.Helper()
	w.WaitCompressed()
	for _, name := range rotatedFiles(t, path) {
		if !strings.HasSuffix(name, ".gz") {
			t.Errorf("%s is not compressed", filepath.Base(name))
		}
	}
}

// All rotated files were too old, so that a new Writer begins with number 1.
func TestFollowWhenNumbersBeginAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 30})
	write(t, w, numbered(1, 9))
	gate := make(chan struct{})
	got := follow(t, path, -1, gate)
	<-got.started
	w.Close()
	for _, name := range rotatedFiles(t, path) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	write(t, open(t, path, logs.Limits{MaxSize: 30}), numbered(10, 14))
	close(gate)
	got.waitFor(t, numbered(1, 14))
}

func TestFollowWaitsForTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "projects", "a.log")
	got := follow(t, path, 10, nil)
	w := open(t, path, logs.Limits{})
	write(t, w, "first\n")
	got.waitFor(t, "first\n")
}

func TestFollowAfterTheDirectoryIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "a.log")
	w := open(t, path, logs.Limits{})
	write(t, w, "before\n")
	got := follow(t, path, 10, nil)
	want := "before\n"
	got.waitFor(t, want)
	for range 20 {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		write(t, w, "after\n")
		want += "after\n"
		got.waitFor(t, want)
	}
}

func TestFollowAfterATruncation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{})
	write(t, w, "a long line before\n")
	got := follow(t, path, 10, nil)
	got.waitFor(t, "a long line before\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, w, "after\n")
	got.waitFor(t, "a long line before\nafter\n")
}

func TestFollowPassesOnWholeLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := follow(t, path, 10, nil)
	write(t, file, "whole\nhalf ")
	got.waitFor(t, "whole\n")
	write(t, file, "a line\n")
	got.waitFor(t, "whole\nhalf a line\n")
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 1 << 10})
	for i := 1; i <= 1000; i++ {
		write(t, w, numbered(i, i))
	}
	w.Close()
	tests := []struct {
		name        string
		lines, from int
	}{
		{"none", 0, 1001},
		{"one", 1, 1000},
		{"in the current file", 5, 996},
		{"across rotated files", 500, 501},
		{"just all", 1000, 1},
		{"more than there are", 5000, 1},
		{"all", -1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			if err := logs.Follow(t.Context(), &got, path, logs.FollowOptions{Lines: tt.lines}); err != nil {
				t.Fatal(err)
			}
			if want := numbered(tt.from, 1000); got.String() != want {
				t.Errorf("got %d lines, want %d", bytes.Count(got.Bytes(), []byte("\n")), strings.Count(want, "\n"))
			}
		})
	}
}

func TestLastLinesOfAFileWithoutFinalNewline(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := logs.Follow(t.Context(), &got, path, logs.FollowOptions{Lines: 2}); err != nil {
		t.Fatal(err)
	}
	if want := "two\nthree"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestLastLinesLongerThanABuffer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	long := strings.Repeat("x", 200<<10) + "\n"
	if err := os.WriteFile(path, []byte("short\n"+long+long), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := logs.Follow(t.Context(), &got, path, logs.FollowOptions{Lines: 2}); err != nil {
		t.Fatal(err)
	}
	if got.String() != long+long {
		t.Errorf("got %d bytes, want %d", got.Len(), 2*len(long))
	}
}

func TestFollowErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := logs.Follow(t.Context(), &bytes.Buffer{}, path, logs.FollowOptions{Lines: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing log: got %v, want fs.ErrNotExist", err)
	}
	write(t, open(t, path, logs.Limits{}), "x\n")
	err := logs.Follow(t.Context(), &sink{failures: 1}, path, logs.FollowOptions{Lines: 1, Follow: true})
	if err == nil || err.Error() != "sink failed" {
		t.Errorf("failing destination: got %v, want its error", err)
	}
}
