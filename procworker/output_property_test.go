package procworker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A reply is how a fussyWriter behaves at one Write.
type reply struct {
	stall bool // until it is let go
	eat   int  // of 8 parts of the batch
	fail  bool
}

// A fussyWriter replies by its script, over and over again.
type fussyWriter struct {
	script []reply
	let    chan struct{} // a token lets one stalled Write go; closed: all of them

	mu      sync.Mutex // guards what follows
	calls   int
	offered []byte
	refused []interval // of what was offered
}

type interval struct{ begin, end int }

func (w *fussyWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	r := w.script[w.calls%len(w.script)]
	w.calls++
	w.offered = append(w.offered, p...)
	end := len(w.offered)
	w.mu.Unlock()
	if r.stall {
		<-w.let
	}
	n := len(p) * r.eat / 8
	w.mu.Lock()
	defer w.mu.Unlock()
	if !bytes.Equal(p, w.offered[end-len(p):end]) {
		panic("a batch has changed while it was being written")
	}
	if n < len(p) {
		w.refused = append(w.refused, interval{end - len(p) + n, end})
	}
	if r.fail {
		return n, errors.New("fussy")
	}
	return n, nil
}

// taken returns how many bytes it has taken.
func (w *fussyWriter) taken() int {
	n := len(w.offered)
	for _, r := range w.refused {
		n -= r.end - r.begin
	}
	return n
}

// catchUp lets Writes go until nothing of the stream is on its way any more.
func (w *fussyWriter) catchUp(t *rapid.T, lost *losses, written int) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		wake(w.let)
		w.mu.Lock()
		done := len(w.offered)+int(lost.bytes.Load()) >= written-1 // one may still get an end in its place
		w.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes were offered and %d dropped of %d", len(w.offered), lost.bytes.Load(), written)
		}
	}
}

// drawScript includes none that never takes anything.
func drawScript(t *rapid.T) []reply {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) reply {
		r := reply{stall: rapid.Bool().Draw(t, "stall"), eat: 8}
		if rapid.IntRange(0, 5).Draw(t, "fussy") == 0 {
			r.eat = rapid.IntRange(0, 8).Draw(t, "eat")
			r.fail = rapid.Bool().Draw(t, "fail")
		}
		return r
	}), 1, 8).Draw(t, "script")
}

// tokens are texts of ten bytes each that tell where they are, so that any part
// of them is found again.
var tokens = sync.OnceValue(func() (text []byte) {
	for len(text) < 12*2<<20 { // as much as a test may write

		text = fmt.Appendf(text, "%09d|", len(text))
	}
	return text
})

// A tokenStream is a part of the tokens, made into lines.
type tokenStream struct{ text []byte }

// grow adds n bytes in lines of a length each, the last one without an end if
// they do not fit.
func (s *tokenStream) grow(n, line int) []byte {
	begin := len(s.text)
	s.text = append(s.text, tokens()[begin:begin+n]...)
	for at := begin + line - 1; at < len(s.text); at += line {
		s.text[at] = '\n'
	}
	return s.text[begin:]
}

// find returns where part is, not before from; -1 if it is nowhere. If that is
// not certain, it returns the first place, but of the last part the last one.
func (s *tokenStream) find(part []byte, from int, last bool) int {
	if i := bytes.IndexByte(part, '|'); i >= 0 && len(part) > i+10 {
		at := -1
		if _, err := fmt.Sscanf(string(part[i+1:i+10]), "%d", &at); err == nil {
			at -= i + 1
		}
		if at >= from && bytes.HasPrefix(s.text[at:], part) {
			return at
		}
	}
	// After a gap a line begins.
	line := append([]byte("\n"), part...)
	if i := bytes.LastIndex(s.text[from:], line); last && i >= 0 {
		return from + i + 1
	}
	if bytes.HasPrefix(s.text[from:], part) {
		return from
	}
	if i := bytes.Index(s.text[from:], line); i >= 0 {
		return from + i + 1
	}
	return -1
}

// atLine reports whether a line begins there.
func (s *tokenStream) atLine(at int) bool { return at == 0 || s.text[at-1] == '\n' }

// lineAround returns the line that has the byte.
func (s *tokenStream) lineAround(at int) (begin, end int) {
	begin = bytes.LastIndexByte(s.text[:at], '\n') + 1
	if i := bytes.IndexByte(s.text[at:], '\n'); i >= 0 {
		return begin, at + i + 1
	}
	return begin, len(s.text)
}

// An account is what must have become of a stream.
type account struct {
	gaps  int
	lines map[int]bool // by their beginnings: those that have lost something
}

func (a *account) lose(s *tokenStream, from, to int) {
	for at := from; at < to; {
		begin, end := s.lineAround(at)
		a.lines[begin] = true
		at = end
	}
}

// settle compares what was offered to the writer with what the child wrote.
func settle(s *tokenStream, w *fussyWriter) (account, error) {
	a := account{lines: make(map[int]bool)}
	pos, torn, offset := 0, false, 0
	refused := w.refused
	for part := range bytes.Lines(w.offered) {
		last := part[len(part)-1] != '\n'
		at := s.find(part, pos, last)
		ended := false // by us
		if at < 0 && !last {
			ended = true
			at = s.find(part[:len(part)-1], pos, false)
		}
		if at < 0 {
			return a, fmt.Errorf("after %d bytes comes what was not written, or was before: %.60q", pos, part)
		}
		if at != pos {
			a.gaps++
			begin, end := s.lineAround(at)
			if !s.atLine(at) && end-begin <= longestSkip {
				return a, fmt.Errorf("a line of %d bytes begins %d bytes late, at %d: %.60q", end-begin, at-begin, at, part)
			}
			if !s.atLine(pos) && !torn {
				return a, fmt.Errorf("the line at %d is glued to that at %d", pos, at)
			}
			a.lose(s, pos, at)
		} else if torn {
			return a, fmt.Errorf("the line at %d was ended for nothing", pos)
		}
		size := len(part)
		torn = ended
		if ended {
			size--
		}
		for len(refused) > 0 && refused[0].begin < offset+len(part) {
			from, to := max(refused[0].begin, offset), min(refused[0].end, offset+len(part))
			if ended && to == offset+len(part) {
				to-- // ours
			}
			a.lose(s, at+from-offset, at+to-offset)
			if refused[0].end > offset+len(part) {
				break // it goes on in the next line
			}
			refused = refused[1:]
		}
		offset += len(part)
		pos = at + size
	}
	if pos < len(s.text) {
		a.gaps++
		a.lose(s, pos, len(s.text))
	}
	return a, nil
}

func awaitOutput(t *rapid.T, what string, done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s does not end\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// Whatever the writer does, and whenever the end comes: what it was not offered
// are whole lines, in order and none twice, and all that it has not taken is
// counted.
func TestOutputProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkOutput)
}

func checkOutput(t *rapid.T) {
	r, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &fussyWriter{script: drawScript(t), let: make(chan struct{}, 4)}
	lost := losses{news: make(chan struct{}, 1)}
	o := newOutput(r, w, &lost)
	o.hurry = time.Duration(rapid.IntRange(1, 3000).Draw(t, "hurry")) * time.Microsecond
	o.patience = time.Duration(rapid.IntRange(1, 5000).Draw(t, "patience")) * time.Microsecond
	o.start()
	var s tokenStream
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		switch rapid.IntRange(0, 4).Draw(t, "step") {
		case 0, 1, 2: // a blocked child is never blocked for ever
			size := 1 << rapid.SampledFrom([]int{6, 9, 12, 15, 18, 20, 20}).Draw(t, "size")
			size += rapid.IntRange(0, size).Draw(t, "more")
			line := 1 << rapid.IntRange(6, 17).Draw(t, "line")
			if _, err := child.Write(s.grow(size, line)); err != nil {
				t.Fatal(err)
			}
		case 3:
			wake(w.let)
		case 4:
			w.catchUp(t, &lost, len(s.text))
		}
	}
	// Nobody else has the child's end: all that was written is to be heard.
	if rapid.Bool().Draw(t, "ended") {
		child.Close()
	}
	patience := time.Duration(rapid.IntRange(0, 3000).Draw(t, "last patience")) * time.Microsecond
	if rapid.IntRange(0, 3).Draw(t, "patient") == 0 {
		close(w.let)
		patience = 30 * time.Second
	}
	finished := make(chan struct{})
	go func() { defer close(finished); o.finish(patience) }()
	awaitOutput(t, "finish", finished)
	begun := func() int { w.mu.Lock(); defer w.mu.Unlock(); return w.calls }()
	if patience < time.Second {
		close(w.let)
	}
	awaitOutput(t, "the writer", o.done)
	child.Close()
	if w.calls > begun+1 {
		t.Fatalf("%d Writes began after finish", w.calls-begun)
	}
	a, err := settle(&s, w)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := int(lost.bytes.Load()), len(s.text)-w.taken(); got != want {
		t.Errorf("%d bytes are counted as dropped, %d are", got, want)
	}
	// A line may be counted once more where one part is dropped and another one refused.
	if got := int(lost.lines.Load()); got < len(a.lines) || got > len(a.lines)+2*a.gaps {
		t.Errorf("%d lines are counted as dropped, %d are (in %d gaps)", got, len(a.lines), a.gaps)
	}
	if told := len(lost.news) > 0; told != (lost.lines.Load() > 0) {
		t.Errorf("losses are told: %v, dropped %d", told, lost.lines.Load())
	}
}
