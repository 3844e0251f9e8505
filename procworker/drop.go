package procworker

import "bytes"

// drop reads without keeping anything until the writer has taken something,
// and on to the end of a line. It begins behind the last whole line, so that
// no line is ever glued to half of another one.
func (o *output) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.shut && o.ring.used() < outputQueue {
		return // the writer has just taken something
	}
	cut := o.ring.cutLine(max(o.busy, o.ring.used()-longestSkip))
	turn := o.turn
	broken := o.ring.used() > 0 && !o.ring.endsLine() // the writer has its beginning
	o.lost.add(0, cut)
	o.open = o.open || cut > 0

	chunk := make([]byte, 32<<10)
	inLine := broken || cut > 0
	spare := 0 // a byte that is not counted: a broken line gets an end in its place
	if broken {
		spare = 1
	}
	spared := 0
	for skipped := 0; !o.ended; {
		o.mu.Unlock()
		n, err := o.src.Read(chunk)
		o.mu.Lock()
		end := 0 // of what is dropped
		switch i := bytes.IndexByte(chunk[:n], '\n'); {
		case !o.hasRoom(turn):
			end = n
		case !inLine || skipped > longestSkip:
		case i >= 0:
			end = i + 1
		default:
			end, skipped = n, skipped+n
		}
		if n > 0 && end == n {
			inLine = chunk[n-1] != '\n'
		}
		if end > 0 {
			o.skip(chunk[:end], spare)
			spare, spared = 0, spared+spare
		}
		if kept := chunk[end:n]; len(kept) > 0 {
			o.resume(kept, broken)
			return
		}
		if err != nil {
			o.lost.add(0, spared) // it gets none
			o.end()
		}
	}
}

// The caller of each of the following holds o.mu.

// skip counts what is dropped of the output, but for so many bytes.
func (o *output) skip(p []byte, spare int) {
	if len(p) > 0 {
		o.lost.add(bytes.Count(p, []byte("\n")), len(p)-spare)
		o.open = p[len(p)-1] != '\n'
	}
}

// closeLine counts the line that was being dropped.
func (o *output) closeLine() {
	if o.open {
		o.open = false
		o.lost.add(1, 0)
	}
}

// hasRoom reports whether the writer has made room since a turn.
func (o *output) hasRoom(turn int) bool {
	return !o.shut && o.turn > turn && o.ring.used() < outputQueue/2
}

// resume goes on with p after something was dropped.
func (o *output) resume(p []byte, broken bool) {
	o.closeLine() // one that is too long to wait for its end
	if broken {
		o.ring.write([]byte("\n"), outputQueue)
	}
	o.ring.write(p, outputQueue)
}
