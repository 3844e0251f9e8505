package dispatch

import (
	"slices"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/runs"
)

// An acceptance is a run that somebody asked for, or why it was not accepted
// after all.
type acceptance struct {
	run runs.Run
	err error
}

// commit puts what the round has changed on disk, and only then lets others
// know: the workers of their runs, and who asked of the outcome. It reports
// whether there is more to do, because the store can write again.
func (d *Dispatcher) commit() (again bool) {
	err := d.store.Commit()
	if err != nil {
		d.stall(err)
		d.undo(err)
	} else {
		for _, l := range d.claimed {
			d.hand(l)
		}
		d.answers = append(d.answers, d.notices...)
		d.notices = nil
	}
	d.claimed, d.accepted = d.claimed[:0], d.accepted[:0]
	return err == nil && d.resume()
}

// undo makes the lanes what the store is after a commit that failed: nothing
// was claimed or accepted. What ended has ended.
func (d *Dispatcher) undo(err error) {
	for _, a := range d.accepted {
		a.err = err
	}
	for _, l := range slices.Backward(d.claimed) {
		d.workers[l.active.worker].lane = nil
		d.idle = slices.Insert(d.idle, 0, l.active.worker)
		l.active = nil
	}
	for _, l := range d.lanes {
		l.queue = nil
	}
	for _, run := range d.store.Unfinished() {
		if l := d.lanes[run.Project]; l != nil && run.State == runs.Queued {
			l.queue = append(l.queue, run)
		}
	}
	for _, l := range d.inOrder() {
		if l.active == nil && len(l.queue) == 0 && l.due.IsZero() {
			l.due = time.Now() // its run was not accepted
		}
		d.settle(l)
	}
}

// retryWrite is how soon a store that cannot write is asked to again.
const retryWrite = time.Second

// stall keeps new runs from starting while the store cannot write, and has the
// loop try again.
func (d *Dispatcher) stall(err error) {
	if !d.stalled {
		d.log.Error("no new run starts", "error", err)
	}
	d.stalled = true
	if d.retry == nil {
		d.retry = time.AfterFunc(retryWrite, func() { d.post(func() { d.retry = nil }) })
	}
}

// resume ends what stall has begun, if it has.
func (d *Dispatcher) resume() bool {
	if !d.stalled {
		return false
	}
	d.log.Info("runs can be put on disk again, and start again")
	d.stalled = false
	for _, l := range d.inOrder() {
		d.settle(l)
	}
	return true
}
