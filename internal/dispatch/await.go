package dispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// A waiter is somebody who waits for a run.
type waiter struct {
	until runs.Until
	run   chan<- runs.Run // has room for it
}

// Await returns a run when it has come so far, at once if it has already. If it
// is cut short, by an interruption or because others had to run, [runs.UntilOver]
// waits for the run that takes it up again, and Await returns that one.
//
// Errors: [runs.ErrNotFound], [ErrStopping], ctx's error.
func (d *Dispatcher) Await(ctx context.Context, id string, until runs.Until) (runs.Run, error) {
	reached := make(chan runs.Run, 1)
	_, err := ask(ctx, d, func() (struct{}, error) {
		run, err := d.store.Get(id)
		switch {
		case err != nil:
		case run.State.Final(), until == runs.UntilStarted && run.PID != 0:
			d.notices = append(d.notices, func() { reached <- run })
		default:
			d.awaited[id] = append(d.awaited[id], waiter{until, reached})
		}
		return struct{}{}, err
	})
	if err != nil {
		return runs.Run{}, err
	}
	select {
	case run := <-reached:
		return run, nil
	default:
	}
	select {
	case run := <-reached:
		return run, nil
	case <-d.closed:
		return runs.Run{}, ErrStopping
	case <-ctx.Done():
		d.post(func() { d.forsake(reached) })
		return runs.Run{}, ctx.Err()
	}
}

// forsake forgets somebody who waits no longer, for whichever run.
func (d *Dispatcher) forsake(run chan<- runs.Run) {
	for id := range d.awaited {
		d.keepWaiting(id, func(w waiter) bool { return w.run != run })
	}
}

// keepWaiting forgets those who wait for a run, except for some.
func (d *Dispatcher) keepWaiting(id string, some func(waiter) bool) {
	left := slices.DeleteFunc(d.awaited[id], func(w waiter) bool { return !some(w) })
	if d.awaited[id] = left; len(left) == 0 {
		delete(d.awaited, id)
	}
}

// announceStart tells those who wait for it that a run's command is running.
func (d *Dispatcher) announceStart(run runs.Run) {
	d.keepWaiting(run.ID, func(w waiter) bool {
		if w.until == runs.UntilStarted {
			d.notices = append(d.notices, func() { w.run <- run })
		}
		return w.until != runs.UntilStarted
	})
}

// announce tells those who wait for a run that it has ended. Next is what was
// queued in its place, nil if nothing was.
func (d *Dispatcher) announce(ended runs.Run, next *runs.Run) {
	waiters := d.awaited[ended.ID]
	if len(waiters) == 0 {
		return
	}
	delete(d.awaited, ended.ID)
	goesOn := next != nil && (ended.State == runs.Interrupted || ended.State == runs.Preempted)
	for _, w := range waiters {
		if goesOn && w.until == runs.UntilOver {
			d.awaited[next.ID] = append(d.awaited[next.ID], w)
			continue
		}
		d.notices = append(d.notices, func() { w.run <- ended })
	}
}

// Retry asks for one more run of what an ended run did, with its arguments. It
// is a run of its own, and counts as no attempt of the old one.
//
// Errors: [runs.ErrNotFound], [ErrNotEnded], and those of [Dispatcher.RunNow].
func (d *Dispatcher) Retry(ctx context.Context, id string) (runs.Run, error) {
	return d.accept(ctx, func() (runs.Run, error) {
		run, err := d.store.Get(id)
		switch {
		case err != nil:
			return runs.Run{}, err
		case !run.State.Final():
			return runs.Run{}, fmt.Errorf("run %s is %s: %w", id, run.State, ErrNotEnded)
		}
		return d.runNow(run.Project, run.Args)
	})
}
