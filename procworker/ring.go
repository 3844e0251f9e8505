package procworker

import "bytes"

// smallRing is what an output takes that has little to say.
const smallRing = 4 << 10

// A ring is a queue of bytes. Those at its end may be read into, and those at
// its beginning be written from, at the same time and without a lock: only its
// methods need one. The zero value is empty.
type ring struct {
	buf        []byte // its length is a power of two
	start, end int    // positions in the stream of all bytes; of the ring modulo len(buf)
}

func (r *ring) used() int { return r.end - r.start }

// free returns room behind the end, to be filled before [ring.extend]; nil if
// there are limit bytes in the ring. It grows when it has been full, and shrinks
// when it is empty and little has come.
func (r *ring) free(limit int) []byte {
	switch used := r.used(); {
	case used == 0:
		switch size := len(r.buf); {
		case size == 0:
			r.buf = make([]byte, smallRing)
		case r.end >= size && size < limit: // it was full
			r.buf = make([]byte, min(4*size, limit))
		case size > smallRing && r.end > 0 && r.end < size/16:
			r.buf = make([]byte, max(smallRing, size/16))
		}
		r.start, r.end = 0, 0
	case used == len(r.buf):
		if used >= limit {
			return nil
		}
		r.grow()
	}
	at := r.end & (len(r.buf) - 1)
	return r.buf[at:min(len(r.buf), at+len(r.buf)-r.used())]
}

// grow makes the ring four times as large.
func (r *ring) grow() {
	larger := ring{buf: make([]byte, 4*len(r.buf)), start: r.start, end: r.start}
	for r.start < r.end {
		batch := r.next()
		larger.put(batch)
		r.release(len(batch))
	}
	*r = larger
}

// put copies p, for which there is room, behind the end.
func (r *ring) put(p []byte) {
	for len(p) > 0 {
		at := r.end & (len(r.buf) - 1)
		n := copy(r.buf[at:], p)
		r.end += n
		p = p[n:]
	}
}

// write adds p, which fits in the limit.
func (r *ring) write(p []byte, limit int) {
	for len(p) > 0 {
		n := copy(r.free(limit), p)
		r.extend(n)
		p = p[n:]
	}
}

func (r *ring) extend(n int) { r.end += n }

// next returns bytes at the beginning; none if the ring is empty.
func (r *ring) next() []byte {
	if r.used() == 0 {
		return nil
	}
	at := r.start & (len(r.buf) - 1)
	return r.buf[at:min(len(r.buf), at+r.used())]
}

// release takes the first n bytes out.
func (r *ring) release(n int) { r.start += n }

// lines counts the lines behind the first n bytes, one without an end included.
func (r *ring) lines(n int) (count int) {
	rest := *r
	rest.release(n)
	for rest.used() > 0 {
		batch := rest.next()
		count += bytes.Count(batch, []byte("\n"))
		rest.release(len(batch))
	}
	if r.used() > n && !r.endsLine() {
		count++
	}
	return count
}

// truncate takes out all but the first n bytes, and returns how many.
func (r *ring) truncate(n int) (cut int) {
	cut = r.used() - n
	r.end -= cut
	return cut
}

// cutLine takes the beginning of a line without an end out of the ring's end,
// unless that line begins within the first n bytes, and returns how many bytes
// it was.
func (r *ring) cutLine(n int) (cut int) {
	for pos := r.end; pos > r.start+n; {
		at := (pos - 1) & (len(r.buf) - 1)
		begin := max(0, at+1-(pos-r.start-n))
		if i := bytes.LastIndexByte(r.buf[begin:at+1], '\n'); i >= 0 {
			return r.truncate(pos - (at + 1 - begin) + i + 1 - r.start)
		}
		pos -= at + 1 - begin
	}
	return 0
}

// endsLine reports whether the last byte of the ring, which is not empty, ends a
// line.
func (r *ring) endsLine() bool { return r.buf[(r.end-1)&(len(r.buf)-1)] == '\n' }
