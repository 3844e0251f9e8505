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

	hurry, patience time.Duration // outputHurry, outputPatience

	mu     sync.Mutex // guards what follows
	ring   ring
	busy   int         // bytes at the beginning of the ring that are being written
	turn   int         // how often the writer has taken something
	relief bool        // another goroutine reads
	ended  bool        // there is nothing more to read
	shut   bool        // nothing is kept any more
	open   bool        // of the line that is being dropped, which is counted at its end
	guard  *time.Timer // calls look; nil: not yet
	seen   int         // what turn was when it last did
	quiet  bool        // it will not again: nothing is going on

	more chan struct{} // the other goroutine has put something in the ring, or has gone
	room chan struct{} // there is room in the ring, or it is shut
	eof  chan struct{} // closed when there is nothing more to read
	done chan struct{} // closed when the writer has returned
}

func newOutput(src *os.File, dst io.Writer, lost *losses) *output {
	widen(src, outputPipe)
	return &output{
		src:  newDrainFile(src, outputBudget),
		dst:  dst,
		lost: lost,

		hurry: outputHurry, patience: outputPatience,

		more: make(chan struct{}, 1),
		room: make(chan struct{}, 1),
		eof:  make(chan struct{}),
		done: make(chan struct{}),
	}
}

func (o *output) start() { go o.copy() }

func (o *output) copy() {
	defer close(o.done)
	counted := false // the line that goes on is
	for {
		batch, relief, ended := o.take()
		switch {
		case len(batch) > 0:
			n, _ := o.dst.Write(batch)
			if n < len(batch) || counted {
				counted = o.refused(batch, max(0, min(n, len(batch))), counted)
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

// refused counts what a Write has left of a batch after n bytes. A line that is
// refused in parts counts once.
func (o *output) refused(batch []byte, n int, counted bool) (goesOn bool) {
	counted = counted && bytes.IndexByte(batch[:n], '\n') < 0
	rest := batch[n:]
	if len(rest) == 0 {
		return counted
	}
	lines := bytes.Count(rest, []byte("\n"))
	goesOn = rest[len(rest)-1] != '\n'
	if goesOn {
		lines++
	}
	if counted {
		lines--
	}
	o.lost.add(lines, len(rest))
	return goesOn
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
		o.guard = time.AfterFunc(o.hurry, o.look)
	case o.quiet:
		o.guard.Reset(o.hurry)
	}
	o.quiet = false
}

// look relieves a writer that has not moved since the last look.
func (o *output) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.turn != o.seen {
		o.seen = o.turn
		o.guard.Reset(o.hurry)
		return
	}
	o.quiet = true
	if o.busy > 0 && !o.relief && !o.ended {
		o.relief = true
		go o.relieve()
	}
}

// read reads once, for which it waits for room; if there is none for too long
// it drops.
func (o *output) read(limit int) {
	free := o.free(limit)
	if free == nil {
		o.drop()
		return
	}
	n, err := o.src.Read(free)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		o.skip(free[:n], 0)
	} else {
		o.ring.extend(n)
	}
	if err != nil {
		o.end()
	}
}

// relieve reads while a Write goes on, and until all is written.
func (o *output) relieve() {
	for needed := true; needed; {
		o.read(outputQueue)
		o.mu.Lock()
		needed = o.busy > 0 && !o.ended
		o.relief = needed
		o.mu.Unlock()
		wake(o.more)
	}
}

// free returns room to read into, for which it waits; nil if there is none
// for too long, or nothing is kept any more.
func (o *output) free(limit int) []byte {
	if free, shut := o.freeNow(limit); free != nil || shut {
		return free
	}
	timer := time.NewTimer(o.patience)
	defer timer.Stop()
	for {
		select {
		case <-o.room: // maybe since before the ring was full
		case <-timer.C:
			return nil
		}
		if free, shut := o.freeNow(limit); free != nil || shut {
			return free
		}
	}
}

func (o *output) freeNow(limit int) (free []byte, shut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return nil, true
	}
	return o.ring.free(limit), false
}

// end notes that there is nothing more to read. The caller holds o.mu.
func (o *output) end() {
	o.closeLine()
	o.ended = true
	close(o.eof)
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
		o.giveUp()
		<-o.eof
	}
	_ = o.src.Close()
}

// giveUp drops what no Write has begun with, and lets what there still is to
// read be dropped, too.
func (o *output) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = true
	lines := o.ring.lines(o.busy)
	if !o.ended && o.ring.used() > o.busy && !o.ring.endsLine() {
		lines, o.open = lines-1, true
	}
	o.lost.add(lines, o.ring.truncate(o.busy))
	wake(o.room)
	if o.busy > 0 && !o.relief && !o.ended {
		o.relief = true
		go o.relieve()
	}
}

// wake puts a token in a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
