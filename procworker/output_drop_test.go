package procworker

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// unread returns an output of which nobody reads what the child has written
// before its end.
func unread(t *testing.T, written string) *output {
	t.Helper()
	r, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := child.WriteString(written); err != nil {
		t.Fatal(err)
	}
	child.Close()
	return newOutput(r, nil, &losses{news: make(chan struct{}, 1)})
}

// The writer may have taken all of the queue between the last look at it and the
// first byte to be dropped. It then waits for more itself, so dropping would
// never end.
func TestOutputDropsNothingWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	o := unread(t, "a line\n")
	o.drop()
	if lost := o.lost.bytes.Load(); lost > 0 || o.ended {
		t.Errorf("%d bytes were dropped, with an empty queue", lost)
	}
}

// A line of which all is there is not lost, though no line fits behind it.
func TestOutputThatEndsWithAFullQueue(t *testing.T) {
	t.Parallel()
	o := unread(t, "")
	o.ring.write(bytes.Repeat([]byte("x"), outputQueue), outputQueue)
	o.busy = len(o.ring.next())
	o.drop()
	if lines, lost := o.lost.lines.Load(), o.lost.bytes.Load(); lines > 0 || lost > 0 || !o.ended {
		t.Errorf("%d lines of %d bytes were dropped, of nothing", lines, lost)
	}
}

// What is still in the pipe when patience is over is dropped, and counted.
func TestFinishCountsWhatNobodyHasRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		queued, piped string // "x" is in a Write, queued is behind it
		lines         uint64
	}{
		"nothing":                  {"\n", "", 1},
		"lines":                    {"\nqueued\n", "read\nnever", 4},
		"a line that is cut twice": {"\nqueued", " in part\n", 2},
		"a line in three places":   {"yz", "z", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := unread(t, test.piped)
			gate := make(chan struct{})
			o.dst = writerFunc(func(p []byte) (int, error) { <-gate; return len(p), nil })
			o.ring.write([]byte("x"+test.queued), outputQueue)
			o.busy = 1
			o.finish(0)
			lines, lost := o.lost.lines.Load(), o.lost.bytes.Load()
			if want := uint64(len(test.queued) + len(test.piped)); lost != want || lines != test.lines {
				t.Errorf("%d bytes in %d lines are counted, want %d in %d", lost, lines, want, test.lines)
			}
			if left := o.ring.used(); left != 1 {
				t.Errorf("%d bytes are kept, want 1", left)
			}
			// The Write returns, and all ends.
			close(gate)
			o.mu.Lock()
			o.ring.truncate(0)
			o.busy = 0
			o.mu.Unlock()
			o.copy()
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A line counts once, however many Writes have refused parts of it.
func TestRefusedLinesAreCounted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		batches string // a "/" divides them, and in each a "|" what is taken from what is refused
		lines   uint64
	}{
		{"all is taken", "a\nb\n|", 0},
		{"whole lines", "|a\nb\n", 2},
		{"the end of one", "a|b\n", 1},
		{"one without an end", "|a", 1},
		{"one in two parts", "|a/|b\n", 1},
		{"the beginning of one", "|a/b\n|", 1},
		{"both ends of one", "|a/b|c\n", 1},
		{"two, the second one in part", "|a/b\nc|d\n", 2},
		{"one, and one after another that is taken", "|a/b\nc\n|/|d\n", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := unread(t, "")
			batches := strings.Split(tt.batches, "/")
			var refused int
			o.dst = writerFunc(func(p []byte) (int, error) {
				taken, rest, _ := strings.Cut(batches[0], "|")
				if string(p) != taken+rest {
					t.Errorf("got %q, want %q", p, taken+rest)
				}
				refused += len(rest)
				if batches = batches[1:]; len(batches) > 0 {
					o.mu.Lock()
					defer o.mu.Unlock()
					o.ring.write([]byte(strings.ReplaceAll(batches[0], "|", "")), outputQueue)
				}
				return len(taken), errors.New("no")
			})
			o.ring.write([]byte(strings.ReplaceAll(batches[0], "|", "")), outputQueue)
			o.copy()
			if lines, lost := o.lost.lines.Load(), o.lost.bytes.Load(); lines != tt.lines || lost != uint64(refused) {
				t.Errorf("%d lines and %d bytes are counted, want %d and %d", lines, lost, tt.lines, refused)
			}
		})
	}
}
