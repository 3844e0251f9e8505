// Package worker is the built-in worker program: it runs one project command
// at a time for the master and leaves nothing of it behind.
//
//	conn, err := ipc.FromEnv()
//	if err != nil {
//		return err
//	}
//	return worker.Run(ctx, conn, worker.Options{ID: 0})
//
// # A run
//
//	           run                 leader ends
//	(idle) ----------> running ------------------> leftovers --+
//	   ^                  |                            |       |
//	   |                  | timeout, cancel, shutdown, |       | nobody is left
//	   |                  | end of the channel         |       | and the output
//	   |                  v                            |       | is in the log
//	   |               stopping  <---------------------+       |
//	   |                  |                                    |
//	   +------------------+------------------------------------+
//	            finished
//
// The leader is the process of the command itself. What outlives it is
// stopped too, or is waited for, as the run asks. Stopping is TERM and CONT
// for every process, the grace, and then KILL until nobody is left.
//
// # Containment
//
// On Linux the worker is the subreaper of its descendants (see prctl(2)) and
// the only one in its process that waits for children, so that no descendant
// escapes it, however often it forks or changes its session. Elsewhere only
// the command's process group is stopped and waited for.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// ErrMasterGone says that the channel ended although the worker was not asked
// to stop.
var ErrMasterGone = errors.New("the channel to the daemon ended; the daemon is gone")

const (
	// orphanGrace is what a run gets when the master is gone: everything
	// has to be over within 5 seconds.
	orphanGrace = 2 * time.Second
	// sendTimeout bounds how long a master that does not read holds up the
	// worker, after which it counts as gone.
	sendTimeout = 5 * time.Second
)

// A Channel is the worker's end of its channel; an [ipc.Conn] is one.
type Channel interface {
	Send(context.Context, ipc.Body) error
	Post(ipc.Body) error
	Receive() (ipc.Message, error)
	Close() error
}

// Options describes a worker. The zero value works.
type Options struct {
	ID        int           // the worker's number, for POPPOBUILDER_WORKER_ID
	Stderr    io.Writer     // takes what cannot be told the master any more; nil: dropped
	Heartbeat time.Duration // between two heartbeats; 0: none
	// Cgroups is where a run with limits that take one gets a cgroup. Nil: none, and limits
	// that take one are not kept.
	Cgroups *procworker.Cgroups

	noReaper bool // for the test that shows what the subreaper is good for
}

// Run serves the master at the other end of ch until it is asked to stop, and
// closes ch. It returns nil after a shutdown message, TERM, or the end of ctx,
// and [ErrMasterGone], maybe wrapped, after the end of the channel. In each case the
// run that was under way has been stopped, and nothing of it is left.
//
// Run belongs at the top of a process that does nothing else: it handles the
// process's signals, and on Linux reaps all of its children.
func Run(ctx context.Context, ch Channel, o Options) error {
	w := &worker{ch: ch, opts: o, starter: newStarter()}
	defer w.starter.close()
	if !o.noReaper {
		if err := becomeReaper(); err != nil {
			return errors.Join(fmt.Errorf("become the reaper of orphans: %w", err), ch.Close())
		}
	}
	return w.loop(ctx)
}

// A worker is owned by the goroutine of [Run].
type worker struct {
	ch   Channel
	opts Options

	starter starter // starts commands

	run     *run  // nil: idle
	leaving bool  // Run returns as soon as it is idle
	err     error // what it returns then
}

func (w *worker) loop(ctx context.Context) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer signal.Stop(term)
	// These are for the master, but reach its workers as well if somebody
	// signals all processes of this name. Caught, and not ignored: ignoring
	// is inherited by commands.
	others := make(chan os.Signal, 1)
	signal.Notify(others, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(others)

	in := receive(w.ch)
	defer in.close()
	var beat <-chan time.Time
	if w.opts.Heartbeat > 0 {
		ticker := time.NewTicker(w.opts.Heartbeat)
		defer ticker.Stop()
		beat = ticker.C
	}
	w.send(ipc.Ready{Protocol: ipc.Version, PID: os.Getpid()})

	messages, done := in.messages, ctx.Done()
	for !w.leaving || w.run != nil {
		events := w.run.events()
		select {
		case m, ok := <-messages:
			if !ok {
				messages = nil
				w.masterGone(in.err)
				break
			}
			w.handle(m)
		case <-term:
			w.leave(w.run.grace())
		case <-done:
			done = nil
			w.leave(w.run.grace())
		case <-beat:
			_ = w.ch.Post(ipc.Heartbeat{}) // a master that was stopped needs only the latest
		case status := <-events.ended:
			w.run.leaderEnded(status)
		case <-events.timeout:
			w.run.timedOut()
		case <-events.kill:
			w.run.kill()
		case total := <-events.empty:
			w.run.nobodyLeft(total, w.patience())
		case <-events.losing:
			w.tellLosses()
		case <-events.dropping:
			w.tellLosses()
		case <-events.drained:
			w.run.outputEnded()
		}
		if w.run.over() {
			w.finish()
		}
	}
	return w.err
}

// patience is how long a log may take after the last process has ended.
func (w *worker) patience() time.Duration {
	if w.leaving {
		return hurriedDrainTime
	}
	return drainTime
}

// tellLosses tells the master how many lines the run's log has lost.
func (w *worker) tellLosses() {
	if lost, ok := w.run.out.news(); ok {
		_ = w.ch.Post(ipc.Metrics{Run: w.run.spec.ID, Metrics: map[string]float64{ipc.LostLines: float64(lost)}})
	}
}

// handle handles one message. Types that it does not know are ignored, as the
// protocol has it, and so are reloads: what a run needs to know is in its
// specification.
func (w *worker) handle(m received) {
	if m.err != nil {
		w.complain("", m.err.Error())
		return
	}
	var err error
	switch m.Type {
	case ipc.Run{}.MessageType():
		var body ipc.Run
		if err = m.Decode(&body); err == nil {
			w.start(body.Run)
		}
	case ipc.Cancel{}.MessageType():
		var body ipc.Cancel
		if err = m.Decode(&body); err == nil {
			w.cancel(body)
		}
	case ipc.Shutdown{}.MessageType():
		var body ipc.Shutdown
		if err = m.Decode(&body); err == nil {
			w.leave(milliseconds(body.TimeoutMS))
		}
	}
	if err != nil {
		w.complain("", err.Error())
	}
}

// start starts a run.
func (w *worker) start(spec ipc.RunSpec) {
	switch {
	case w.leaving:
		w.complain(spec.ID, fmt.Sprintf("run %s is refused: the worker is shutting down", spec.ID))
		return
	case w.run != nil:
		w.complain(spec.ID, fmt.Sprintf("run %s is refused: run %s is not over yet", spec.ID, w.run.spec.ID))
		return
	}
	cgroup, warning := w.contain(spec)
	r, err := startRun(w.starter, spec, environment(os.Environ(), w.opts.ID, spec), cgroup, warning)
	if err != nil {
		w.send(ipc.Finished{Run: spec.ID, Error: err.Error(), Log: r.logRange()})
		return
	}
	w.run = r
	w.send(ipc.Started{Run: spec.ID, PID: r.tree.leader, Log: r.from})
	if warning != "" {
		w.complain(spec.ID, warning)
	}
}

// cancel stops the run that it names. One for a run that is over crossed with
// its end.
func (w *worker) cancel(m ipc.Cancel) {
	if w.run == nil || w.run.spec.ID != m.Run {
		w.complain(m.Run, fmt.Sprintf("cancel run %s: this worker is not running it", m.Run))
		return
	}
	reason := m.Reason
	if reason == "" {
		reason = "cancelled"
	}
	w.run.stop(reason, "stopped: "+reason, w.run.grace())
}

// leave stops the run within the grace and then ends the worker. Each further
// call may shorten the grace.
func (w *worker) leave(grace time.Duration) {
	w.leaving = true
	if w.run != nil {
		w.run.stop("shutdown", "stopped: the worker was told to shut down", grace)
	}
}

// masterGone ends the worker after the end of its channel.
func (w *worker) masterGone(err error) {
	switch {
	case w.leaving:
	case errors.Is(err, io.EOF):
		w.err = ErrMasterGone
	default:
		w.err = fmt.Errorf("%w: %w", ErrMasterGone, err)
	}
	w.leave(min(orphanGrace, w.run.grace()))
}

// finish reports the end of the run, whose output is in the log by now.
func (w *worker) finish() {
	r := w.run
	w.run = nil
	if dropped := r.closeLog(); dropped != nil {
		w.complain(r.spec.ID, dropped.Error())
	}
	w.send(r.finished())
}

// complain tells the master what went wrong.
func (w *worker) complain(run, problem string) {
	w.send(ipc.Error{Run: run, Error: problem})
}

// send sends a message. A master that cannot be told is gone, which the
// receiving side is going to see, too.
func (w *worker) send(m ipc.Body) {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	err := w.ch.Send(ctx, m)
	if err == nil {
		return
	}
	if w.opts.Stderr != nil {
		fmt.Fprintf(w.opts.Stderr, "%v: %+v\n", err, m)
	}
	if !w.leaving {
		w.masterGone(err)
	}
}

func milliseconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(max(n, 0), most)) * time.Millisecond
}
