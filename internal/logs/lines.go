package logs

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// DefaultMaxLine is the longest line, in bytes without its newline, that
// [Lines] keeps in one piece unless told.
const DefaultMaxLine = 64 << 10

// Lines makes whole lines of a stream of bytes, such as a program's output.
// Each Write to the sink holds one or more of them, each with its newline.
// A longer line than the maximum is cut in several, not inside a UTF-8
// character. It holds at most one line in memory.
//
// It is not for use by several goroutines at once.
type Lines struct {
	w   io.Writer
	max int
	buf []byte // lines that wait to be passed on, the last one incomplete
}

// NewLines returns a Lines that passes on to w. A max of 0 is
// [DefaultMaxLine]; the least is [utf8.UTFMax].
func NewLines(w io.Writer, max int) *Lines {
	switch {
	case max <= 0:
		max = DefaultMaxLine
	case max < utf8.UTFMax:
		max = utf8.UTFMax
	}
	return &Lines{w: w, max: max}
}

// Write takes the next bytes of the stream, and passes on the lines that they
// complete. If the sink fails, these are gone; the next Write goes on.
func (l *Lines) Write(p []byte) (int, error) {
	n := len(p)
	var failed error
	note := func(err error) {
		if err != nil && failed == nil {
			failed = err
		}
	}
	for len(p) > 0 {
		// Whole lines need no copy, unless the first one has begun before.
		if len(l.buf) == 0 {
			if whole := l.whole(p); whole > 0 {
				_, err := l.w.Write(p[:whole])
				note(err)
				p = p[whole:]
				continue
			}
		}
		// One byte more than the longest line: there is its newline, or
		// else it is too long.
		take := min(len(p), l.max+1-len(l.buf))
		if i := bytes.IndexByte(p[:take], '\n'); i >= 0 {
			take = i + 1
		}
		l.buf = append(l.buf, p[:take]...)
		p = p[take:]
		if len(l.buf) > l.max || l.buf[len(l.buf)-1] == '\n' {
			note(l.pass())
		}
	}
	return n, failed
}

// whole returns how many bytes of p are whole lines at its beginning, none of
// them too long.
func (l *Lines) whole(p []byte) (n int) {
	for {
		window := p[n:min(len(p), n+l.max+1)]
		i := bytes.LastIndexByte(window, '\n')
		if i < 0 {
			return n
		}
		n += i + 1
	}
}

// Close passes on a last line that had no newline, with one. It leaves the
// sink open.
func (l *Lines) Close() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.w.Write(append(l.buf, '\n'))
	l.buf = nil
	return err
}

// pass passes on the complete lines. If the buffer is full of one incomplete
// line, it passes on a piece of that.
func (l *Lines) pass() error {
	if whole := bytes.LastIndexByte(l.buf, '\n') + 1; whole > 0 {
		_, err := l.w.Write(l.buf[:whole])
		l.discard(whole)
		return err
	}
	if len(l.buf) <= l.max {
		return nil
	}
	cut := l.max
	for back := 1; back < utf8.UTFMax; back++ {
		if utf8.RuneStart(l.buf[cut]) {
			break
		}
		cut--
	}
	if !utf8.RuneStart(l.buf[cut]) {
		cut = l.max // no UTF-8
	}
	kept := l.buf[cut]
	l.buf[cut] = '\n'
	_, err := l.w.Write(l.buf[:cut+1])
	l.buf[cut] = kept
	l.discard(cut)
	return err
}

// discard removes the first n bytes of the buffer.
func (l *Lines) discard(n int) {
	l.buf = l.buf[:copy(l.buf, l.buf[n:])]
}
