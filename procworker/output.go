package procworker

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

const (
	outputQueue = 1 << 20 // bytes kept for a slow writer
	outputPipe  = 256 << 10
	// outputPatience is how long a child may have to wait for a writer that
	// takes nothing. It is for a disk that is slow; one that hangs costs the
	// child this time once, and then lines.
	outputPatience = 2 * time.Second
	// outputWait bounds how long a writer may take after the child's end.
	outputWait = 5 * time.Second
	// longestSkip is how much is dropped at most in search of a line's end.
	longestSkip = 64 << 10
)

// An output copies a child's pipe to a writer. One goroutine reads and never
// waits long for the other one, which writes.
type output struct {
	src  *drainFile
	dst  io.Writer
	lost *losses

	mu   sync.Mutex // guards what follows
	ring ring
	busy int // bytes at the beginning of the ring that are being written
	turn int // how often the writer has taken something

	more chan struct{} // there is something in the ring; closed at the end
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

func (o *output) start() {
	go o.read()
	go o.write()
}

func (o *output) read() {
	defer close(o.more)
	for {
		free := o.free()
		if free == nil {
			if !o.drop() {
				return
			}
			continue
		}
		n, err := o.src.Read(free)
		o.mu.Lock()
		o.ring.extend(n)
		o.mu.Unlock()
		wake(o.more)
		if err != nil {
			return
		}
	}
}

// free returns room to read into, for which it waits; nil if there is none
// for too long.
func (o *output) free() []byte {
	if free := o.freeNow(); free != nil {
		return free
	}
	timer := time.NewTimer(outputPatience)
	defer timer.Stop()
	for {
		select {
		case <-o.room: // maybe since before the ring was full
		case <-timer.C:
			return o.freeNow()
		}
		if free := o.freeNow(); free != nil {
			return free
		}
	}
}

func (o *output) freeNow() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ring.free(outputQueue)
}

// drop reads without keeping anything until the writer has taken something,
// and on to the end of a line. It begins behind the last whole line, so that
// no line is ever glued to half of another one. It reports whether there is
// more to read.
func (o *output) drop() bool {
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
			return err == nil
		}
		if err != nil {
			if inLine {
				o.lost.add(1, 0)
			}
			return false
		}
	}
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
	wake(o.more)
}

func (o *output) write() {
	defer close(o.done)
	for open := true; open; {
		_, open = <-o.more
		for {
			batch := o.take()
			if len(batch) == 0 {
				break
			}
			if n, err := o.dst.Write(batch); err != nil || n < len(batch) {
				rest := batch[max(0, min(n, len(batch))):]
				o.lost.add(bytes.Count(rest, []byte("\n")), len(rest))
			}
		}
	}
}

// take gives the batch before back, and returns the next one.
func (o *output) take() []byte {
	o.mu.Lock()
	o.ring.release(o.busy)
	batch := o.ring.next()
	o.busy = len(batch)
	o.turn++
	o.mu.Unlock()
	wake(o.room)
	return batch
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
