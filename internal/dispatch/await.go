package dispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// Await returns a run when it has ended, at once if it has already. If it is cut
// short meanwhile, by an interruption or because others had to run, Await goes on
// to wait for the run that takes it up again, and returns that one.
//
// Errors: [runs.ErrNotFound], [ErrStopping], ctx's error.
func (d *Dispatcher) Await(ctx context.Context, id string) (runs.Run, error) {
	ended := make(chan runs.Run, 1)
	_, err := ask(ctx, d, func() (struct{}, error) {
		run, err := d.store.Get(id)
		switch {
		case err != nil:
		case run.State.Final():
			d.notices = append(d.notices, func() { ended <- run })
		default:
			d.awaited[id] = append(d.awaited[id], ended)
		}
		return struct{}{}, err
	})
	if err != nil {
		return runs.Run{}, err
	}
	select {
	case run := <-ended:
		return run, nil
	default:
	}
	select {
	case run := <-ended:
		return run, nil
	case <-d.closed:
		return runs.Run{}, ErrStopping
	case <-ctx.Done():
		d.post(func() { d.forsake(ended) })
		return runs.Run{}, ctx.Err()
	}
}

// forsake forgets somebody who waits no longer, for whichever run.
func (d *Dispatcher) forsake(waiter chan runs.Run) {
	for id, waiters := range d.awaited {
		i := slices.Index(waiters, waiter)
		if i < 0 {
			continue
		}
		if d.awaited[id] = slices.Delete(waiters, i, i+1); len(d.awaited[id]) == 0 {
			delete(d.awaited, id)
		}
		return
	}
}

// announce tells those who wait for a run that it has ended. Next is what was
// queued in its place, nil if nothing was.
func (d *Dispatcher) announce(ended runs.Run, next *runs.Run) {
	waiters := d.awaited[ended.ID]
	if len(waiters) == 0 {
		return
	}
	delete(d.awaited, ended.ID)
	if next != nil && (ended.State == runs.Interrupted || ended.State == runs.Preempted) {
		d.awaited[next.ID] = append(d.awaited[next.ID], waiters...)
		return
	}
	for _, c := range waiters {
		d.notices = append(d.notices, func() { c <- ended })
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
