package procworker

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	outputChunk = 32 << 10 // bytes of one read
	outputQueue = 1 << 20  // bytes kept for a slow writer
	// outputWait bounds how long a writer may take after the child's end.
	outputWait = 5 * time.Second
)

// An output copies a child's pipe to a writer. One goroutine reads and never
// waits for the other one, which writes.
type output struct {
	src     *drainFile
	dst     io.Writer
	dropped *atomic.Uint64 // bytes

	mu    sync.Mutex // guards queue
	queue []byte
	more  chan struct{} // there is something in the queue; closed at the end
	done  chan struct{} // closed when the writer has returned
}

func newOutput(src *os.File, dst io.Writer, dropped *atomic.Uint64) *output {
	return &output{
		src:     newDrainFile(src, outputBudget),
		dst:     dst,
		dropped: dropped,
		more:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
}

func (o *output) start() {
	go o.read()
	go o.write()
}

func (o *output) read() {
	defer close(o.more)
	chunk := make([]byte, outputChunk)
	for {
		n, err := o.src.Read(chunk)
		if n > 0 {
			o.put(chunk[:n])
		}
		if err != nil {
			return
		}
	}
}

func (o *output) put(p []byte) {
	o.mu.Lock()
	room := outputQueue - len(o.queue)
	o.queue = append(o.queue, p[:min(len(p), room)]...)
	o.mu.Unlock()
	if len(p) > room {
		o.dropped.Add(uint64(len(p) - room))
	}
	select {
	case o.more <- struct{}{}:
	default: // the writer has not looked since the last time
	}
}

func (o *output) write() {
	defer close(o.done)
	var spare []byte
	for open := true; open; {
		_, open = <-o.more
		o.mu.Lock()
		batch := o.queue
		o.queue = spare[:0]
		o.mu.Unlock()
		if len(batch) > 0 {
			if n, err := o.dst.Write(batch); err != nil || n < len(batch) {
				o.dropped.Add(uint64(len(batch) - max(0, min(n, len(batch)))))
			}
		}
		spare = batch
		if cap(spare) > 2*outputChunk {
			spare = nil // a burst does not keep its memory
		}
	}
}

// finish hands over what is left. The child is dead.
func (o *output) finish() {
	o.src.drain()
	timer := time.NewTimer(outputWait)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
		o.mu.Lock()
		o.dropped.Add(uint64(len(o.queue)))
		o.queue = nil
		o.mu.Unlock()
	}
	_ = o.src.Close()
}
