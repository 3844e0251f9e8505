package master

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// A console writes lines to somebody who may not read: a terminal that was
// stopped by Ctrl-S, a pager. Who logs never waits for that; what does not fit
// in the queue is dropped and counted.
type console struct {
	w       io.Writer
	lines   chan []byte
	closing chan struct{}
	closed  chan struct{}
	dropped atomic.Uint64
}

const (
	consoleQueue = 1024        // lines
	consoleGrace = time.Second // for what is queued at the end
)

func newConsole(w io.Writer) *console {
	c := &console{
		w:       w,
		lines:   make(chan []byte, consoleQueue),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	go c.run()
	return c
}

// Write queues a line.
func (c *console) Write(p []byte) (int, error) {
	select {
	case c.lines <- bytes.Clone(p):
	default:
		c.dropped.Add(1)
	}
	return len(p), nil
}

func (c *console) run() {
	defer close(c.closed)
	for {
		select {
		case line := <-c.lines:
			_, _ = c.w.Write(line)
		case <-c.closing:
			for len(c.lines) > 0 {
				_, _ = c.w.Write(<-c.lines)
			}
			return
		}
	}
}

// close writes what is queued. A write that hangs is left behind.
func (c *console) close() {
	close(c.closing)
	grace := time.NewTimer(consoleGrace)
	defer grace.Stop()
	select {
	case <-c.closed:
	case <-grace.C:
	}
}
