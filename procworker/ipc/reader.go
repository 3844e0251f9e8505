package ipc

import (
	"bytes"
	"io"
)

const (
	firstBuffer = 4 << 10  // enough for nearly every message
	idleBuffer  = 64 << 10 // a larger one is given back after its message
)

// A lineReader cuts a stream into lines in memory that max bounds.
type lineReader struct {
	r   io.Reader
	max int

	buf        []byte
	start, end int   // buf[start:end] has been read and not yet returned
	scanned    int   // buf[start:scanned] holds no newline
	err        error // what the stream ended with
}

// next returns the next line without its newline; it is valid until the next
// call. A line that is too long, or that the stream ends in, is skipped and
// reported as a *MalformedError.
func (l *lineReader) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(l.buf[l.scanned:l.end], '\n'); i >= 0 {
			line := l.buf[l.start : l.scanned+i]
			l.start = l.scanned + i + 1
			l.scanned = l.start
			return line, nil
		}
		l.scanned = l.end
		switch held := l.end - l.start; {
		case held >= l.max:
			return nil, l.skip()
		case l.err == nil:
			l.fill()
		case held > 0:
			bad := malformed("the channel ended inside it", l.buf[l.start:l.end], held)
			l.start, l.end, l.scanned = 0, 0, 0
			return nil, bad
		default:
			return nil, l.err
		}
	}
}

// fill reads once, after it has made room.
func (l *lineReader) fill() {
	switch held := l.end - l.start; {
	case held == 0:
		if len(l.buf) == 0 || len(l.buf) > idleBuffer {
			l.buf = make([]byte, min(firstBuffer, l.max))
		}
		l.start, l.end, l.scanned = 0, 0, 0
	case l.end == len(l.buf):
		to := l.buf
		if held > len(l.buf)/2 {
			to = make([]byte, min(2*len(l.buf), l.max))
		}
		copy(to, l.buf[l.start:l.end])
		l.buf, l.start, l.end, l.scanned = to, 0, held, held
	}
	var n int
	n, l.err = l.r.Read(l.buf[l.end:])
	l.end += n
}

// skip drops the line in progress, to its newline or the end of the stream.
func (l *lineReader) skip() *MalformedError {
	bad := malformed("longer than a message may be", l.buf[l.start:l.end], l.end-l.start)
	l.start, l.end, l.scanned = 0, 0, 0
	for l.err == nil {
		l.fill()
		if i := bytes.IndexByte(l.buf[:l.end], '\n'); i >= 0 {
			bad.Length += i
			l.start, l.scanned = i+1, i+1
			return bad
		}
		bad.Length += l.end
		l.start, l.end, l.scanned = 0, 0, 0
	}
	return bad
}

// parse makes a message of a line. A message without a type is one of Node's
// own, to be skipped.
func parse(line []byte) (Message, error) {
	f, valid := scan(line)
	switch {
	case !valid:
		return Message{}, malformed("not JSON", line, len(line))
	case f.kind != "":
		return Message{Type: f.kind, Raw: bytes.Clone(line)}, nil
	case f.internal:
		return Message{}, nil
	}
	return Message{}, malformed(`not an object with a string "type"`, line, len(line))
}
