package procworker

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

const (
	outputQueue = 1 << 20    // bytes kept for a slow writer
	outputTurn  = outputPipe // bytes that are read at once for one that is not
	outputPipe  = 256 << 10
	// outputHurry is how long a Write may take, or twice as long, before the
	// output is read meanwhile.
	outputHurry = 20 * time.Millisecond
	// outputPatience is how long a child may have to wait for a writer that
	// takes nothing. It is for a disk that is slow; one that hangs costs the
	// child this time once, and then lines.
	outputPatience = 2 * time.Second
	// outputWait bounds how long a writer may take after the child's end.
	outputWait = 5 * time.Second
	// longestSkip is how much is dropped at most in search of a line's end.
	longestSkip = 64 << 10
)

// An output copies a child's pipe to a writer. One goroutine reads and writes
// in turn, which costs least. When a Write takes its time, another one goes on
// reading meanwhile, so that the child does not wait, until the writer has
// caught up.
type output struct {
	src  *drainFile
	dst  io.Writer
	lost *losses

	mu     sync.Mutex // guards what follows
	ring   ring
	busy   int         // bytes at the beginning of the ring that are being written
	turn   int         // how often the writer has taken something
	relief bool        // another goroutine reads
	ended  bool        // there is nothing more to read
	guard  *time.Timer // calls look; nil: not yet
	seen   int         // what turn was when it last did
	quiet  bool        // it will not again: nothing is going on

	more chan struct{} // the other goroutine has put something in the ring, or has gone
	room chan struct{} // there is room in the ring
	done chan struct{} // closed when the writer has returned
}

func newOutput(src *os.File, dst io.Writer, lost *losses) *output {
	widen(src, outputPipe)
	return &output{
		src:  newDrainFile(src, outputBudget),
		dst:  dst,
		lost: lost,
		more: make(chan struct{}, 1),
		room: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
}

func (o *output) start() { go o.copy() }

func (o *output) copy() {
	defer close(o.done)
	for {
		batch, relief, ended := o.take()
		switch {
		case len(batch) > 0:
			n, err := o.dst.Write(batch)
			if err != nil || n < len(batch) {
				rest := batch[max(0, min(n, len(batch))):]
				o.lost.add(bytes.Count(rest, []byte("\n")), len(rest))
			}
		case relief:
			<-o.more
		case ended:
			return
		default:
			o.read(outputTurn)
		}
	}
}

// take gives the batch before back, and returns the next one, or what else
// there is to do.
func (o *output) take() (batch []byte, relief, ended bool) {
	o.mu.Lock()
	o.ring.release(o.busy)
	batch = o.ring.next()
	o.busy = len(batch)
	o.turn++
	relief, ended = o.relief, o.ended
	if len(batch) > 0 {
		o.watch()
	}
	o.mu.Unlock()
	wake(o.room)
	return batch, relief, ended
}

// watch sees to it that a Write which does not return is noticed. The timer is
// not set for each of them: that would cost as much as a small one.
func (o *output) watch() {
	switch {
	case o.guard == nil:
		o.guard = time.AfterFunc(outputHurry, o.look)
	case o.quiet:
		o.guard.Reset(outputHurry)
	}
	o.quiet = false
}

// look relieves a writer that has not moved since the last look.
func (o *output) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.turn != o.seen {
		o.seen = o.turn
		o.guard.Reset(outputHurry)
		return
	}
	o.quiet = true
	if o.busy > 0 && !o.relief && !o.ended {
		o.relief = true
		go o.relieve()
	}
}

// read reads once, if there is room, or will be before long. It reports
// whether there was.
func (o *output) read(limit int) bool {
	free := o.free(limit)
	if free == nil {
		return false
	}
	n, err := o.src.Read(free)
	o.mu.Lock()
	o.ring.extend(n)
	o.ended = err != nil
	o.mu.Unlock()
	return true
}

// relieve reads while a Write goes on, and until all is written.
func (o *output) relieve() {
	for needed := true; needed; {
		if !o.read(outputQueue) {
			o.drop()
		}
		o.mu.Lock()
		needed = o.busy > 0 && !o.ended
		o.relief = needed
		o.mu.Unlock()
		wake(o.more)
	}
}

// free returns room to read into, for which it waits; nil if there is none
// for too long.
func (o *output) free(limit int) []byte {
	if free := o.freeNow(limit); free != nil {
		return free
	}
	timer := time.NewTimer(outputPatience)
	defer timer.Stop()
	for {
		select {
		case <-o.room: // maybe since before the ring was full
		case <-timer.C:
			return o.freeNow(limit)
		}
		if free := o.freeNow(limit); free != nil {
			return free
		}
	}
}

func (o *output) freeNow(limit int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ring.free(limit)
}

// drop reads without keeping anything until the writer has taken something,
// and on to the end of a line. It begins behind the last whole line, so that
// no line is ever glued to half of another one.
func (o *output) drop() {
	o.mu.Lock()
	cut := o.ring.cutLine(max(o.busy, o.ring.used()-longestSkip))
	turn := o.turn
	broken := o.ring.used() == 0 || !o.ring.endsLine() // the writer has its beginning
	o.mu.Unlock()
	o.lost.add(0, cut) // its end is still to come

	chunk := make([]byte, 32<<10)
	inLine := broken || cut > 0
	for skipped := 0; ; {
		n, err := o.src.Read(chunk)
		if err != nil {
			o.end()
		}
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
		o.lost.add(bytes.Count(chunk[:end], []byte("\n")), end)
		if kept := chunk[end:n]; len(kept) > 0 {
			o.resume(kept, broken)
			return
		}
		if err != nil {
			if inLine {
				o.lost.add(1, 0)
			}
			return
		}
	}
}

// end notes that there is nothing more to read.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
}

// hasRoom reports whether the writer has made room since a turn.
func (o *output) hasRoom(turn int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turn > turn && o.ring.used() < outputQueue/2
}

// resume goes on with p after something was dropped.
func (o *output) resume(p []byte, broken bool) {
	o.mu.Lock()
	if broken {
		o.ring.write([]byte("\n"), outputQueue)
	}
	o.ring.write(p, outputQueue)
	o.mu.Unlock()
}

// finish hands over what is left, as far as the writer takes it in that time.
// The child is dead.
func (o *output) finish(patience time.Duration) {
	o.src.drain()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
		o.mu.Lock()
		lines := o.ring.lines(o.busy)
		o.lost.add(lines, o.ring.truncate(o.busy))
		o.mu.Unlock()
	}
	_ = o.src.Close()
}

// wake puts a token in a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
