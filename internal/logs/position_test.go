package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// A stretch is what one of several writers has written, and where.
type stretch struct {
	from, to logs.Position
	text     string
}

func position(t testing.TB, w *logs.Writer) logs.Position {
	t.Helper()
	p, err := w.Position()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkCopy checks what is copied between two positions.
func checkCopy(t testing.TB, path string, s stretch, want string, wantErr error) {
	t.Helper()
	var got bytes.Buffer
	at, err := logs.Copy(&got, path, s.from, &s.to)
	if !errors.Is(err, wantErr) || at != s.to {
		t.Errorf("copy from %v to %v: at %v, %v; want error %v", s.from, s.to, at, err, wantErr)
	}
	if got.String() != want {
		t.Errorf("copy from %v to %v: got %q, want %q", s.from, s.to, got.String(), want)
	}
}

// Whatever is written, by one Writer after the other, and however it is rotated
// and compressed: each finds exactly its own lines again.
func TestCopyFindsEachStretchAgain(t *testing.T) {
	t.Parallel()
	line := rapid.StringMatching(`[a-z]{0,12}\n`)
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), "a.log")
		limits := logs.Limits{
			MaxSize: rapid.SampledFrom([]int64{0, 1, 10, 40}).Draw(rt, "size"),
			MaxAge:  rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(rt, "age"),
			Plain:   rapid.Bool().Draw(rt, "plain"),
		}
		var all []stretch
		for _, lines := range rapid.SliceOfN(rapid.SliceOfN(line, 0, 12), 1, 5).Draw(rt, "writers") {
			w := logs.New(path, limits)
			s := stretch{from: position(t, w)}
			for _, l := range lines {
				write(t, w, l)
				s.text += l
			}
			s.to = position(t, w)
			if rapid.Bool().Draw(rt, "compressed") {
				w.WaitCompressed()
			}
			w.Close()
			all = append(all, s)
		}
		for _, s := range all {
			checkCopy(t, path, s, s.text, nil)
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func TestCopyWithoutAnEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 60})
	write(t, w, numbered(1, 7))
	from := position(t, w)
	write(t, w, numbered(8, 20))
	var got bytes.Buffer
	at, err := logs.Copy(&got, path, from, nil)
	if err != nil || got.String() != numbered(8, 20) || at != position(t, w) {
		t.Errorf("got %q, %v, %v", got.String(), at, err)
	}
	if at, err := logs.Copy(&got, filepath.Join(t.TempDir(), "none.log"), logs.Position{File: 1}, nil); err != nil || at != (logs.Position{File: 1}) {
		t.Errorf("of a log that does not exist: %v, %v", at, err)
	}
}

func TestCopyGoesOnWithTheOldestFileThatIsLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{MaxSize: 39, MaxFiles: 2}) // 3 lines a file
	var s stretch
	s.from = position(t, w)
	write(t, w, numbered(1, 12))
	s.to = position(t, w)
	checkCopy(t, path, s, numbered(4, 12), logs.ErrRemoved)
	write(t, w, numbered(13, 30))
	checkCopy(t, path, s, "", logs.ErrRemoved)
}

// When all rotated files are too old, a Writer that does not know of them must
// not begin with number 1 again: the positions of old stretches would be those
// of new ones.
func TestNumbersGoOnWhenFilesAreTooOld(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %t", plain), func(t *testing.T) {
			t.Parallel()
			limits := logs.Limits{MaxSize: 39, MaxAge: time.Hour, Plain: plain}
			path := filepath.Join(t.TempDir(), "a.log")
			w := open(t, path, limits)
			old := stretch{from: position(t, w)}
			write(t, w, numbered(1, 10))
			w.WaitCompressed()
			w.Close()
			old.to = logs.Position{File: 3, Offset: 39}
			past := time.Now().Add(-2 * time.Hour)
			for _, name := range rotatedFiles(t, path) {
				if err := os.Chtimes(name, past, past); err != nil {
					t.Fatal(err)
				}
			}
			w = open(t, path, limits)
			s := stretch{from: position(t, w)}
			if want := (logs.Position{File: 4, Offset: 13}); s.from != want {
				t.Errorf("position: got %v, want %v", s.from, want)
			}
			write(t, w, numbered(11, 25))
			s.to = position(t, w)
			w.WaitCompressed()
			checkCopy(t, path, s, numbered(11, 25), nil)
			checkCopy(t, path, old, "", logs.ErrRemoved)
		})
	}
}

func TestCopyOfALogThatWasEmptied(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	w := open(t, path, logs.Limits{})
	write(t, w, numbered(1, 5))
	s := stretch{from: position(t, w)}
	write(t, w, numbered(6, 9))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, w, numbered(10, 11))
	s.to = position(t, w)
	checkCopy(t, path, s, numbered(10, 11), nil)
}

// A relay is a log that one writer after the other writes to, without a pause,
// as the runs of a project do.
type relay struct {
	mu    sync.Mutex // guards ended
	ended int        // writers below this number have ended
	ends  []chan *logs.Position
}

func (r *relay) alone(n int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ended == n
	}
}

func (r *relay) end(n int, to logs.Position) {
	r.mu.Lock()
	r.ended = n + 1
	r.mu.Unlock()
	r.ends[n] <- &to
}

// Followers get the lines of their writer and no others, while the log is
// rotated all the time, compressed, and written to by the next one at once.
func TestFollowStretchGetsItsLinesOnly(t *testing.T) {
	t.Parallel()
	const writers, lines = 40, 60
	path := filepath.Join(t.TempDir(), "a.log")
	r := &relay{}
	for range writers {
		r.ends = append(r.ends, make(chan *logs.Position, 1))
	}
	var below sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for n := range writers {
		w := logs.New(path, logs.Limits{MaxSize: 200})
		from := position(t, w)
		below.Go(func() {
			var got bytes.Buffer
			_, err := logs.FollowStretch(ctx, &got, path, logs.Stretch{From: from, Ended: r.ends[n], Alone: r.alone(n)})
			if want := numbered(n*lines, (n+1)*lines-1); err != nil || got.String() != want {
				t.Errorf("writer %d: %v; got %d bytes that end with %q, want %d", n, err, got.Len(), tail(got.String()), len(want))
			}
		})
		for i := range lines {
			write(t, w, numbered(n*lines+i, n*lines+i))
		}
		r.end(n, position(t, w))
		w.Close()
	}
	below.Wait()
}

// It prints what comes when it comes, and not at the end.
func TestFollowStretchDoesNotWaitForTheEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "a.log") // which does not exist yet
	w := logs.New(path, logs.Limits{MaxSize: 30})
	defer w.Close()
	ended := make(chan *logs.Position)
	got := &received{started: make(chan struct{}, 1), grown: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		_, err := logs.FollowStretch(t.Context(), got, path, logs.Stretch{From: logs.Position{File: 1}, Ended: ended})
		done <- err
	}()
	for i := 1; i <= 10; i++ {
		write(t, w, numbered(i, i))
		got.waitFor(t, numbered(1, i))
	}
	ended <- nil
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFollowStretchErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := logs.FollowStretch(ctx, &bytes.Buffer{}, path, logs.Stretch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after ctx's end: got %v", err)
	}
	write(t, open(t, path, logs.Limits{}), "x\n")
	_, err := logs.FollowStretch(t.Context(), &sink{failures: 1}, path, logs.Stretch{From: logs.Position{File: 1}})
	if err == nil || err.Error() != "sink failed" {
		t.Errorf("failing destination: got %v, want its error", err)
	}
}

// A Writer's position is where a reader looks for it, also when somebody else
// has moved the log's files since it looked last.
func TestPositionIsNotRemembered(t *testing.T) {
	t.Parallel()
	limits := logs.Limits{MaxSize: 30, Plain: true}
	for name, meddle := range map[string]func(t *testing.T, path string){
		"another writer rotates": func(t *testing.T, path string) {
			other := logs.New(path, limits)
			defer other.Close()
			write(t, other, "too long for the file that there is\n")
		},
		"the rotated files are removed": func(t *testing.T, path string) {
			for _, file := range rotatedFiles(t, path) {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		},
		"all files are removed": func(t *testing.T, path string) {
			for _, file := range append(rotatedFiles(t, path), path) {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the current file is removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"nothing": func(*testing.T, string) {},
	} {
		for _, before := range []int{1, 5} { // lines, of which 2 fit into a file
			path := filepath.Join(t.TempDir(), "a.log")
			w := logs.New(path, limits)
			for range before {
				write(t, w, "a line of 15 b\n")
			}
			position(t, w)
			meddle(t, path)
			want, err := logs.End(path)
			if got := position(t, w); got != want || err != nil {
				t.Errorf("%s behind %d lines: %v, and a reader says %v, %v", name, before, got, want, err)
			}
			write(t, w, "another one\n")
			want, err = logs.End(path)
			if got := position(t, w); got != want || err != nil {
				t.Errorf("%s behind %d lines, and one more: %v, and a reader says %v, %v", name, before, got, want, err)
			}
			w.Close()
		}
	}
}
