package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// WorkerReady tells that a generation of a worker accepts work.
func (d *Dispatcher) WorkerReady(n int, generation uint64) {
	d.post(func() {
		w := &worker{generation: generation, leaving: d.leaving[n]}
		d.workers[n] = w
		if !w.leaving {
			d.idle = append(d.idle, n)
		}
	})
}

// WorkerLeaving tells that a worker is about to be stopped: it gets no more
// runs, whatever becomes of it until it is removed.
func (d *Dispatcher) WorkerLeaving(n int) {
	d.post(func() {
		d.leaving[n] = true
		if w := d.workers[n]; w != nil {
			w.leaving = true
			d.unidle(n)
		}
	})
}

// Retire lets a worker finish what it has, gives it nothing more, and calls
// idle, from the loop, when it has nothing. A worker that is not ready has
// nothing, and gets nothing if it becomes ready before it is removed.
func (d *Dispatcher) Retire(n int, idle func()) {
	d.post(func() {
		d.leaving[n] = true
		w := d.workers[n]
		if w == nil || w.lane == nil {
			if w != nil {
				w.leaving = true
				d.unidle(n)
			}
			idle()
			return
		}
		w.leaving, w.onIdle = true, idle
	})
}

// WorkerGone tells that a generation of a worker has ended, with everything
// that it had started.
func (d *Dispatcher) WorkerGone(n int, generation uint64) {
	d.post(func() {
		w := d.workers[n]
		if w == nil || w.generation != generation {
			return
		}
		delete(d.workers, n)
		d.unidle(n)
		w.retired()
		if w.lane != nil {
			d.end(w.lane, runs.Interrupted, runs.Exit{Error: fmt.Sprintf("worker %d ended while it had the run", n)})
		}
	})
}

// WorkerRemoved tells that a worker is gone for good: the next one with its
// number is another.
func (d *Dispatcher) WorkerRemoved(n int) {
	d.post(func() { delete(d.leaving, n) })
}

// RunStarted tells that a run's command is running.
func (d *Dispatcher) RunStarted(n int, generation uint64, m ipc.Started) {
	d.post(func() {
		l := d.holder(n, generation, m.Run)
		if l == nil {
			return
		}
		var log *runs.LogRange
		if m.Log != nil {
			log = &runs.LogRange{From: logs.Position(*m.Log)}
		}
		run, err := d.store.Started(m.Run, m.PID, log)
		if err != nil {
			d.log.Error("note start of run", "run", m.Run, "error", err)
			return
		}
		l.active.run = run
		d.announceStart(run)
	})
}

// RunFinished tells that a run is over.
func (d *Dispatcher) RunFinished(n int, generation uint64, m ipc.Finished) {
	d.post(func() {
		l := d.holder(n, generation, m.Run)
		if l == nil {
			d.log.Warn("worker finished a run that it does not have", "worker", n, "run", m.Run)
			return
		}
		w := d.workers[n]
		w.lane = nil
		// One that was told to shut down, by whomever, is about to end.
		w.leaving = w.leaving || m.Reason == "shutdown"
		if !w.leaving {
			d.idle = append(d.idle, n)
		}
		w.retired()
		d.end(l, d.outcome(l.active, m), runs.Exit{
			ExitCode:    m.ExitCode,
			Signal:      m.Signal,
			Error:       m.Error,
			UserMS:      m.UserMS,
			SystemMS:    m.SystemMS,
			MaxRSSBytes: m.MaxRSSBytes,
			LostLines:   m.LostLines,
			Log:         logRange(m.Log),
		})
	})
}

func logRange(r *ipc.LogRange) *runs.LogRange {
	if r == nil {
		return nil
	}
	to := logs.Position(r.To)
	return &runs.LogRange{From: logs.Position(r.From), To: &to}
}

// holder returns the lane whose run that generation of the worker has, or nil
// if it does not have that run.
func (d *Dispatcher) holder(n int, generation uint64, run string) *lane {
	w := d.workers[n]
	if w == nil || w.generation != generation || w.lane == nil || w.lane.active.run.ID != run {
		return nil
	}
	return w.lane
}

// unidle takes a worker out of the idle ones.
func (d *Dispatcher) unidle(n int) {
	d.idle = slices.DeleteFunc(d.idle, func(i int) bool { return i == n })
}

// outcome tells in which state a run ends.
func (d *Dispatcher) outcome(a *active, m ipc.Finished) runs.State {
	success := m.ExitCode != nil && *m.ExitCode == 0
	reason := cmp.Or(a.stop, m.Reason)
	if a.stop == preempted && (m.Reason != "" || success) {
		reason = m.Reason // it timed out, or ended by itself, before it had to make way
	}
	switch {
	case reason == preempted:
		return runs.Preempted
	case reason == "timeout":
		return runs.TimedOut
	case reason == "shutdown":
		// It was told to stop, so whatever its exit says, it may not have
		// done all that it was started for.
		return runs.Interrupted
	case reason != "":
		return runs.Cancelled
	case success:
		return runs.Succeeded
	case d.draining:
		return runs.Interrupted
	default:
		return runs.Failed
	}
}

// end is the one place where a run that executed ends.
func (d *Dispatcher) end(l *lane, state runs.State, exit runs.Exit) {
	a := l.active
	d.charge(l)
	l.active = nil
	a.slice.stop()
	if a.backstop != nil {
		a.backstop.Stop()
	}
	if state == runs.Interrupted && a.stop != "" {
		// Its worker died of the stop that it was asked for.
		switch a.stop {
		case "timeout":
			state = runs.TimedOut
		case preempted:
			state = runs.Preempted
		default:
			state = runs.Cancelled
		}
	}
	d.lostLines += exit.LostLines
	now := time.Now()
	next := d.next(l, a.run, state, now)
	ended, queued, err := d.store.Finish(a.run.ID, state, exit, next)
	if err != nil {
		d.log.Error("end run", "project", a.run.Project, "run", a.run.ID, "error", err)
		ended = a.run
	}
	l.last, l.lastEnd, l.due = &ended, now, time.Time{}
	switch {
	case queued != nil:
		queued.NotBefore = next.NotBefore // with its monotonic reading, which no store keeps
		l.queue = append(l.queue, *queued)
	case l.renewed:
		l.due, l.lastEnd = now, time.Time{}
	case len(l.queue) == 0:
		l.due = d.dueAtEnd(l)
	}
	l.renewed = false
	d.logEnd(ended, queued)
	d.announce(ended, queued)
	for _, c := range a.ended {
		d.notices = append(d.notices, func() { c <- ended })
	}
	d.settle(l)
}

// dueAtEnd starts the interval of a lane whose run just ended. The value only
// has to be set: [Dispatcher.dueAt] computes the time.
func (d *Dispatcher) dueAtEnd(l *lane) time.Time {
	return l.lastEnd.Add(l.project.Config.Interval(d.settings.Interval))
}

// next tells what is queued when a run ends in a state, if anything is.
func (d *Dispatcher) next(l *lane, run runs.Run, state runs.State, now time.Time) *runs.Request {
	if l.removed || !l.project.Enabled {
		return nil
	}
	again := runs.Request{
		Project:  run.Project,
		Origin:   run.Origin,
		Attempt:  run.Attempt + 1,
		Failures: run.Failures,
		ByHand:   run.ByHand,
		Args:     run.Args,
	}
	switch state {
	case runs.Preempted:
		again.Reason, again.Attempt = runs.Preemption, run.Attempt
		return &again
	case runs.Interrupted:
		if l.project.Config.OnInterrupt == project.InterruptFail {
			return nil
		}
		again.Reason = runs.Interruption
		if w := d.workers[valueOr(run.Worker, -1)]; !d.draining && (w == nil || !w.leaving) {
			// The worker died, perhaps of this very run.
			again.NotBefore = now.Add(retryDelay(d.delay(l), run.Attempt))
		}
		return &again
	case runs.Failed, runs.TimedOut:
		again.Failures++
		if again.Failures > l.project.Config.Attempts(d.settings.RetryAttempts) {
			return nil
		}
		again.Reason = runs.Retry
		again.NotBefore = now.Add(retryDelay(d.delay(l), again.Failures))
		return &again
	default:
		return nil
	}
}

func (d *Dispatcher) delay(l *lane) time.Duration {
	return l.project.Config.Delay(d.settings.RetryDelay)
}

func (d *Dispatcher) logEnd(ended runs.Run, queued *runs.Run) {
	attrs := []any{"project", ended.Project, "run", ended.ID, "state", ended.State}
	if ended.ExitCode != nil {
		attrs = append(attrs, "exitCode", *ended.ExitCode)
	}
	if ended.Signal != "" {
		attrs = append(attrs, "signal", ended.Signal)
	}
	if ended.Error != "" {
		attrs = append(attrs, "error", ended.Error)
	}
	if queued != nil {
		attrs = append(attrs, "next", queued.ID, "nextAttempt", queued.Attempt)
	}
	if ended.State == runs.Succeeded || ended.State == runs.Preempted {
		d.log.Info("run ended", attrs...)
	} else {
		d.log.Warn("run ended", attrs...)
	}
}

func valueOr[T any](p *T, other T) T {
	if p == nil {
		return other
	}
	return *p
}
