package supervisor

import (
	"context"
	"sync"
	"time"
)

// A runContext is the context of one run. It hands on the values of the context
// that Serve was called with, but not its end: children end one after the other.
// It is not context.WithCancel(context.WithoutCancel(ctx)), which does the same
// and takes twice as much memory for each child that runs.
type runContext struct {
	serving *serving
	done    chan struct{}

	mu    sync.Mutex // guards what follows
	ended bool
	after map[*func()]struct{} // to be called at the end
}

func (*runContext) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

func (c *runContext) Done() <-chan struct{} { return c.done }

func (c *runContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

func (c *runContext) Value(key any) any { return c.serving.values.Value(key) }

// String tells what it is. Printing the fields would read them without their lock.
func (*runContext) String() string { return "supervisor.run" }

// AfterFunc is what package context asks for, so that contexts derived from this
// one need no goroutine to learn of its end. As nobody else calls it, and what
// that package wants to be called does not block, it is called without one too.
func (c *runContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := c.after[&f]
		delete(c.after, &f)
		return waits
	}
}

// cancel ends the context. The derived ones have ended too when it returns.
func (c *runContext) cancel() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	close(c.done)
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for f := range after {
		(*f)()
	}
}
