package procworker_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
)

// A lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func TestOutputIsWhole(t *testing.T) {
	t.Parallel()
	// One writer for both: one pipe, and the order is kept.
	var both bytes.Buffer
	w := &procworker.Worker{
		Command: []string{"sh", "-c", `i=0; while [ $i -lt 500 ]; do echo out; echo err >&2; i=$((i+1)); done; printf end`},
		Stdout:  &both, Stderr: &both,
	}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("out\nerr\n", 500) + "end"; both.String() != want {
		t.Errorf("got %d bytes, want %d", both.Len(), len(want))
	}
	// Two writers, and much of it.
	var out, errs lockedBuffer
	w = &procworker.Worker{
		Command: []string{"sh", "-c", `head -c 800000 /dev/zero; echo oops >&2`},
		Stdout:  &out, Stderr: &errs,
	}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if out.buf.Len() != 800000 || errs.buf.String() != "oops\n" || w.Snapshot().DroppedOutput != 0 {
		t.Errorf("got %d bytes and %q, dropped %d", out.buf.Len(), errs.buf.String(), w.Snapshot().DroppedOutput)
	}
}

// A gatedWriter does not return before its gate is open.
type gatedWriter struct{ gate chan struct{} }

func (w gatedWriter) Write(p []byte) (int, error) {
	<-w.gate
	return len(p), nil
}

type failingWriter struct{}

func (failingWriter) Write(p []byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputNeverBlocksTheChild(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	gate := make(chan struct{})
	w := shell(t, `head -c 8388608 /dev/zero; `+sayReady+`read line <&3; exit 0`)
	w.Stdout = gatedWriter{gate}
	s := serve(t, w).awaitReady() // it has written all, and nobody has taken anything
	if err := w.Send(t.Context(), note{Type: "note"}); err != nil {
		t.Fatal(err)
	}
	close(gate)
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if dropped := w.Snapshot().DroppedOutput; dropped < size-3<<20 || dropped >= size {
		t.Errorf("dropped %d bytes", dropped)
	}

	w = &procworker.Worker{Command: []string{"head", "-c", "100000", "/dev/zero"}, Stdout: failingWriter{}}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if dropped := w.Snapshot().DroppedOutput; dropped != 100000 {
		t.Errorf("dropped %d bytes, want 100000", dropped)
	}
}

// A writer that is slower than the child, but goes on, gets everything.
func TestOutputWaitsForASlowWriter(t *testing.T) {
	t.Parallel()
	const lines = 60_000
	r, slow := io.Pipe()
	defer r.Close()
	w := &procworker.Worker{Command: []string{"seq", "-f", "line %032.0f", "1", fmt.Sprint(lines)}, Stdout: slow}
	result := make(chan error, 1)
	go func() {
		defer slow.Close()
		result <- w.Serve(t.Context())
	}()
	scanner := bufio.NewScanner(&smallReader{r})
	for i := 1; i <= lines; i++ {
		if want := fmt.Sprintf("line %032d", i); !scanner.Scan() || scanner.Text() != want {
			t.Fatalf("got %q, want %q: %v", scanner.Text(), want, scanner.Err())
		}
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if dropped := w.Snapshot().DroppedOutput; dropped > 0 {
		t.Errorf("dropped %d bytes", dropped)
	}
}

// A smallReader reads 512 bytes at a time.
type smallReader struct{ io.Reader }

func (r *smallReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 512)]) }

// What a writer that hangs does not take is dropped in whole lines, and it is
// as if nothing had been when it goes on.
func TestOutputDropsWholeLines(t *testing.T) {
	t.Parallel()
	const lines, more = 200_000, 100
	gate := make(chan struct{})
	var out gatedBuffer
	out.gate = gate
	w := shell(t, fmt.Sprintf(`seq -f "line %%020.0f" 1 %d; %s
		while read line <&3; do case $line in *'"n":0'*) echo probe ;; *) break ;; esac; done
		seq -f "line %%020.0f" %d %d; printf end`, lines, sayReady, lines+1, lines+more))
	w.Stdout = &out
	s := serve(t, w).awaitReady() // it has written all, and nobody has taken anything
	close(gate)
	probes := 0
	for ; !out.has("probe\n"); probes++ { // until nothing is dropped any more
		if probes > 30_000 {
			t.Fatal("nothing is kept any more")
		}
		if err := w.Send(t.Context(), note{Type: "note", N: 0}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := w.Send(t.Context(), note{Type: "note", N: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	const size = len("line 00000000000000000001\n")
	text, last := out.buf.String(), 0
	for line := range strings.Lines(text) {
		var n int
		if line == "end" || line == "probe\n" {
			continue
		}
		if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil || len(line) != size || n <= last {
			t.Fatalf("line %q after %d: %v", line, last, err)
		}
		last = n
	}
	if last != lines+more || !strings.HasSuffix(text, "end") {
		t.Errorf("got an end of %q", text[max(0, len(text)-2*size):])
	}
	dropped := w.Snapshot().DroppedOutput
	if want := uint64((lines+more)*size + probes*len("probe\n") + len("end") - len(text)); dropped != want || dropped == 0 {
		t.Errorf("dropped %d bytes, want %d", dropped, want)
	}
}

// A gatedBuffer takes nothing before its gate is open.
type gatedBuffer struct {
	gate <-chan struct{}
	lockedBuffer
}

func (b *gatedBuffer) Write(p []byte) (int, error) {
	<-b.gate
	return b.lockedBuffer.Write(p)
}

// has reports whether something has been written.
func (b *gatedBuffer) has(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.buf.String(), part)
}

func TestOutputToFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &procworker.Worker{Command: []string{"sh", "-c", "echo to a file; echo as well >&2"}, Stdout: f, Stderr: f}
	if err := serve(t, w).end(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(f.Name()); string(got) != "to a file\nas well\n" {
		t.Errorf("got %q", got)
	}
}

// A countingWriter counts empty writes, at which an io.PipeWriter would block.
type countingWriter struct{ empty, bytes int }

func (w *countingWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		w.empty++
	}
	w.bytes += len(p)
	return len(p), nil
}

func TestOutputIsNeverEmpty(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{"exit 0": 0, "printf four": 4} {
		var out countingWriter
		w := &procworker.Worker{Command: []string{"sh", "-c", script}, Stdout: &out}
		if err := serve(t, w).end(); err != nil {
			t.Fatal(err)
		}
		if out.empty != 0 || out.bytes != want {
			t.Errorf("%s: %+v", script, out)
		}
	}
}

// An oddWriter is of a comparable type, with values that cannot be compared.
type oddWriter struct{ inside any }

func (w oddWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestOutputToValuesThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	odd := oddWriter{inside: []int{1}}
	w := &procworker.Worker{Command: []string{"true"}, Stdout: odd, Stderr: odd}
	if err := serve(t, w).end(); err != nil {
		t.Error(err)
	}
}

// A stallingWriter does not return from a Write before it is told so.
type stallingWriter struct {
	buf     bytes.Buffer
	stalls  chan (<-chan struct{}) // what the next Write waits for
	written chan int               // so many bytes in all
}

func (w *stallingWriter) Write(p []byte) (int, error) {
	select {
	case until := <-w.stalls:
		<-until
	default:
	}
	w.buf.Write(p)
	w.written <- w.buf.Len()
	return len(p), nil
}

// Whenever a Write takes its time the output is read meanwhile, all of it is
// written in order afterwards, and the next time it is the same again.
func TestOutputIsReadDuringAWrite(t *testing.T) {
	t.Parallel()
	const rounds, size = 5, 700 << 10 // more than a pipe holds, and less than what is kept
	r, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &stallingWriter{stalls: make(chan (<-chan struct{}), 1), written: make(chan int, 1<<20)}
	c := procworker.NewCapture(r, w)
	line := []byte("0123456789abcdef0123456789abcde\n")
	var want bytes.Buffer
	for round := range rounds {
		begin := want.Len()
		for want.Len() < begin+size {
			line[0] = byte('A' + (want.Len()/len(line)+round)%26)
			want.Write(line)
		}
		until := make(chan struct{})
		w.stalls <- until
		if _, err := child.Write(want.Bytes()[begin:]); err != nil { // nobody takes it meanwhile
			t.Fatal(err)
		}
		close(until)
		for n := 0; n < want.Len(); {
			select {
			case n = <-w.written:
			case <-time.After(hangGuard):
				t.Fatalf("round %d: %d bytes were written, want %d", round, n, want.Len())
			}
		}
	}
	child.Close()
	<-c.Done()
	c.Finish(0)
	if lines, lost := c.Dropped(); lines > 0 || lost > 0 || !bytes.Equal(w.buf.Bytes(), want.Bytes()) {
		t.Errorf("got %d bytes, want %d; lost %d", w.buf.Len(), want.Len(), lost)
	}
}
