package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

var (
	// ErrStopping says that the daemon is about to end.
	ErrStopping = errors.New("the daemon is stopping")
	// ErrDisabled says that no run of a disabled project may start.
	ErrDisabled = errors.New("the project is disabled")
	// ErrNotRunnable says that a project has nothing to run.
	ErrNotRunnable = errors.New("the project is not runnable")
	// ErrNotEnded says that a run cannot be tried again yet.
	ErrNotEnded = errors.New("only a run that has ended can be run again")
	// ErrNothingToCancel says that a project has no run that waits or
	// executes.
	ErrNothingToCancel = errors.New("the project has no run to cancel")
)

// RunNow asks for a run of a project, whose command gets args in addition. If one
// with these args waits in the queue already, that one is returned, and no longer
// waits for a time to come, nor for the project's active hours; while one
// executes, one more is queued. If the one that executes fails then, it is tried
// again all the same, so two wait, one behind the other; more never do. A project
// that is paused starts them when it is resumed.
//
// Errors: [project.ErrNotFound], [ErrDisabled], [ErrNotRunnable],
// [ErrStopping], *[runs.WriteError].
func (d *Dispatcher) RunNow(ctx context.Context, id string, args ...string) (runs.Run, error) {
	return d.accept(ctx, func() (runs.Run, error) { return d.runNow(id, args) })
}

// accept asks the loop for a run, and returns it when it is on disk.
func (d *Dispatcher) accept(ctx context.Context, f func() (runs.Run, error)) (runs.Run, error) {
	a, err := ask(ctx, d, func() (*acceptance, error) {
		run, err := f()
		a := &acceptance{run: run}
		if err == nil {
			d.accepted = append(d.accepted, a)
		}
		return a, err
	})
	if err != nil {
		return runs.Run{}, err
	}
	return a.run, a.err
}

func (d *Dispatcher) runNow(id string, args []string) (runs.Run, error) {
	l, err := d.lane(id)
	switch {
	case err != nil:
		return runs.Run{}, err
	case d.draining:
		return runs.Run{}, ErrStopping
	case !l.project.Enabled:
		return runs.Run{}, fmt.Errorf("%w: \"poppobuilder project enable %s\" changes that", ErrDisabled, id)
	}
	if err := l.project.Runnable(d.settings.Command); err != nil {
		return runs.Run{}, fmt.Errorf("%w: %w", ErrNotRunnable, err)
	}
	var run runs.Run
	same := func(queued runs.Run) bool { return slices.Equal(queued.Args, args) }
	if i := slices.IndexFunc(l.queue, same); i >= 0 {
		if run, err = d.store.Expedite(l.queue[i].ID); err != nil {
			return runs.Run{}, err
		}
		l.queue[i] = run
	} else {
		if run, err = d.store.Enqueue(runs.Request{Project: id, Reason: runs.Manual, Args: args}); err != nil {
			return runs.Run{}, err
		}
		l.queue = append(l.queue, run)
		l.due = time.Time{}
	}
	d.settle(l)
	return run, nil
}

// Cancel ends a project's runs: those that wait, and the one that executes,
// for whose end it waits. It returns the latter, or else the one that waited
// longest. The project is due again after its interval.
//
// Errors: [project.ErrNotFound], [ErrNothingToCancel], [ErrStopping].
func (d *Dispatcher) Cancel(ctx context.Context, id string) (runs.Run, error) {
	ended := make(chan runs.Run, 1)
	if _, err := ask(ctx, d, func() (struct{}, error) { return struct{}{}, d.cancel(id, ended) }); err != nil {
		return runs.Run{}, err
	}
	select {
	case run := <-ended:
		return run, nil
	case <-d.closed:
		return runs.Run{}, ErrStopping
	case <-ctx.Done():
		return runs.Run{}, ctx.Err()
	}
}

func (d *Dispatcher) cancel(id string, ended chan<- runs.Run) error {
	l, err := d.lane(id)
	switch {
	case err != nil:
		return err
	case l.active == nil && len(l.queue) == 0:
		return fmt.Errorf("project %s: %w", id, ErrNothingToCancel)
	}
	var first string
	if len(l.queue) > 0 {
		first = l.queue[0].ID
	}
	d.cancelQueued(l, "cancelled while it waited")
	if l.active != nil {
		l.active.ended = append(l.active.ended, ended)
		d.requestStop(l, "cancelled")
		return nil
	}
	run, err := d.store.Get(first)
	if err != nil {
		return err
	}
	d.notices = append(d.notices, func() { ended <- run })
	l.lastEnd = time.Now()
	l.due = d.dueAtEnd(l)
	l.served = d.wall()
	d.settle(l)
	return nil
}

// requestStop asks the worker to stop the lane's run, once. A reason wins over
// its having to make way.
func (d *Dispatcher) requestStop(l *lane, reason string) {
	a := l.active
	if a.stop != "" {
		if a.stop == preempted {
			a.stop = reason
		}
		return
	}
	a.stop = reason
	d.pool.Send(a.worker, a.generation, ipc.Cancel{Run: a.run.ID, Reason: reason})
	d.stopAfter(l, Grace+slack, reason)
}

// stopAfter sees to it that a run ends: when the time is over, it is asked to
// stop; if it was asked already, its worker is replaced.
func (d *Dispatcher) stopAfter(l *lane, wait time.Duration, reason string) {
	a := l.active
	if a.backstop != nil {
		a.backstop.Stop()
	}
	a.backstop = time.AfterFunc(wait, func() {
		d.post(func() {
			switch {
			case l.active != a:
			case a.stop == "":
				d.requestStop(l, reason)
			default:
				d.pool.Replace(a.worker, a.generation, fmt.Sprintf("run %s did not end %v after it was asked to stop", a.run.ID, Grace+slack))
			}
		})
	})
}

// lane returns the lane of a project that the registry has.
func (d *Dispatcher) lane(id string) (*lane, error) {
	l := d.lanes[id]
	if l == nil || l.removed {
		return nil, fmt.Errorf("project %s: %w", id, project.ErrNotFound)
	}
	return l, nil
}
