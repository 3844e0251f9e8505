package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A child is a service in a tree, as suture sees it. It is removed by ending
// its own context, and not by suture's Remove: that leaks a goroutine if the
// supervisor ends meanwhile, and RemoveAndWait can block the supervisor's loop.
type child struct {
	tree    *Tree
	svc     Service
	hub     *hub // of svc
	removed context.Context
	remove  context.CancelFunc

	mu    sync.Mutex
	ended chan struct{} // closed at the end of the current run; nil if none runs
}

var errRemoved = fmt.Errorf("removed from its tree: %w", ErrDoNotRestart)

func (c *child) String() string { return nameOf(c.svc) }

// Serve serves the service until ctx ends or it is removed. If it still runs,
// abandoned by an earlier Serve of the tree, that has to end first.
func (c *child) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.removed, cancel)()
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	err := c.svc.Serve(ctx)
	if ctx.Err() == nil && errors.Is(err, ErrTerminateTree) {
		// suture would stop the tree without ending its context, and so block
		// whoever calls Add until all services have stopped, who may be one.
		c.tree.terminate(err)
		return fmt.Errorf("%w: %w", err, ErrDoNotRestart)
	}
	if c.removed.Err() != nil {
		return errRemoved
	}
	return err
}

// begin waits for its turn to run.
func (c *child) begin(ctx context.Context) error {
	for {
		c.mu.Lock()
		ended := c.ended
		free := ended == nil && c.removed.Err() == nil && ctx.Err() == nil
		if free {
			c.ended = make(chan struct{})
		}
		c.mu.Unlock()
		switch {
		case free:
			return nil
		case c.removed.Err() != nil:
			return errRemoved
		case ctx.Err() != nil:
			return ctx.Err()
		}
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
}

func (c *child) end() {
	c.mu.Lock()
	close(c.ended)
	c.ended = nil
	c.mu.Unlock()
	if c.removed.Err() != nil {
		c.tree.drop(c)
	}
}

func (c *child) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended != nil
}

// wait returns when the service does not run, or with ctx's error.
func (c *child) wait(ctx context.Context) error {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
