package procworker

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The ring holds what a plain slice would.
func TestRingProperty(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	rapid.Check(t, func(t *rapid.T) {
		var r ring
		var want []byte
		next := byte(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1: // read as much as there is room, or less
				free := r.free(limit)
				if (free == nil) != (len(want) == limit) {
					t.Fatalf("free %d of %d", len(free), len(want))
				}
				n := min(len(free), rapid.IntRange(0, 20<<10).Draw(t, "n"))
				for i := range n {
					free[i] = next
					next++
				}
				want = append(want, free[:n]...)
				r.extend(n)
			case 2: // write
				batch := r.next()
				if len(batch) == 0 != (len(want) == 0) || !bytes.HasPrefix(want, batch) {
					t.Fatalf("next %d of %d", len(batch), len(want))
				}
				n := min(len(batch), rapid.IntRange(0, 20<<10).Draw(t, "n"))
				r.release(n)
				want = want[n:]
			case 3: // cut what is behind the last line's end
				keep := min(len(want), rapid.IntRange(0, limit).Draw(t, "keep"))
				cut := r.cutLine(keep)
				end := len(want)
				if i := bytes.LastIndexByte(want[keep:], '\n'); i >= 0 {
					end = keep + i + 1
				}
				if cut != len(want)-end {
					t.Fatalf("cut %d of %d, want %d", cut, len(want), len(want)-end)
				}
				want = want[:end]
				if len(want) > 0 && r.endsLine() != (want[len(want)-1] == '\n') {
					t.Fatal("endsLine")
				}
			}
			if r.used() != len(want) {
				t.Fatalf("used %d, want %d", r.used(), len(want))
			}
		}
	})
}

// One that has little to say takes little memory, also after it had much.
func TestRingShrinks(t *testing.T) {
	t.Parallel()
	var r ring
	for len(r.free(1<<20)) > 0 {
		r.extend(len(r.free(1 << 20)))
	}
	r.release(r.used())
	for range 10 {
		r.free(1 << 20)
		r.extend(10)
		r.release(10)
	}
	if r.free(1 << 20); len(r.buf) != smallRing {
		t.Errorf("%d bytes, want %d", len(r.buf), smallRing)
	}
}

func TestRingLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "a": 1, "a\n": 1, "a\nb": 2, "\n\n": 2} {
		var r ring
		r.write([]byte("before\n"+text), 1<<20)
		if got := r.lines(len("before\n")); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
