package worker

import (
	"cmp"
	"fmt"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

const (
	// killAgain is how often the killing is repeated, for a process that
	// was forked while its parent was being killed.
	killAgain = 100 * time.Millisecond
	// drainTime bounds how long the output is read after the last process
	// ended, in case somebody outside of the run holds its end of the pipe.
	drainTime = time.Second
)

// A run is a run under way. Its methods are called by the worker's goroutine;
// those that the worker calls without knowing whether there is a run accept
// nil.
type run struct {
	spec ipc.RunSpec
	tree *tree
	out  *output
	log  *logs.Writer // nil: the output is dropped

	from, to *ipc.LogPosition // of its part of the log; nil: unknown, or not yet

	cgroup    *procworker.Cgroup // nil: none
	oomKilled bool               // valid when it is over

	timeout *time.Timer // nil: no limit
	killing *time.Timer // nil: not being stopped
	killAt  time.Time   // when killing fires

	status *syscall.WaitStatus // of the leader; nil: it runs
	empty  bool                // nobody is left
	usage  usage               // valid when empty
	ended  bool                // the output has been read to its end
	lost   int64               // lines that the log could not take; valid when it is closed

	reason, problem string // why the worker stopped it; empty: it did not
}

// startRun starts the command of a run. An error tells what hinders it, and
// is in the log as well, and so is the warning. What comes with it is over.
func startRun(spec ipc.RunSpec, env []string, cgroup *procworker.Cgroup, warning string) (*run, error) {
	r := &run{spec: spec, cgroup: cgroup}
	var sink io.Writer = io.Discard
	if spec.Log != "" {
		r.log = logs.New(spec.Log, logs.Limits{
			MaxSize:  spec.LogLimits.MaxSizeBytes,
			MaxFiles: spec.LogLimits.MaxFiles,
			MaxAge:   milliseconds(spec.LogLimits.MaxAgeMS),
		})
		sink = r.log
	}
	r.from = r.position()
	if warning != "" {
		fmt.Fprintf(sink, "poppobuilder: %s\n", warning)
	}
	err := r.startIn(sink, env)
	if err != nil {
		r.closeCgroup()
		fmt.Fprintf(sink, "poppobuilder: %v\n", err)
		_ = r.closeLog()
		return r, err
	}
	if spec.TimeoutMS > 0 {
		r.timeout = time.NewTimer(milliseconds(spec.TimeoutMS))
	}
	return r, nil
}

func (r *run) startIn(sink io.Writer, env []string) error {
	path, err := findCommand(r.spec.Command, r.spec.Dir, env)
	if err != nil {
		return err
	}
	if r.out, err = newOutput(sink); err != nil {
		return err
	}
	r.tree, err = startTree(path, r.spec, env, r.out, r.cgroup)
	r.out.started()
	if err != nil {
		<-r.out.drained
		return explainStart(r.spec.Command[0], err)
	}
	return nil
}

// events are the channels on which a run tells its worker what happens. Those
// of a nil run never do.
type events struct {
	ended         <-chan syscall.WaitStatus
	empty         <-chan usage
	drained       <-chan struct{}
	losing        <-chan int64
	timeout, kill <-chan time.Time
}

func (r *run) events() events {
	if r == nil {
		return events{}
	}
	var e events
	if r.status == nil {
		e.ended = r.tree.ended
	} else {
		e.empty = r.tree.empty
	}
	if !r.ended {
		e.drained = r.out.drained
		e.losing = r.out.losing
	}
	if r.timeout != nil {
		e.timeout = r.timeout.C
	}
	if r.killing != nil {
		e.kill = r.killing.C
	}
	return e
}

// grace returns the time between TERM and KILL that the run asks for.
func (r *run) grace() time.Duration {
	if r == nil {
		return 0
	}
	return milliseconds(r.spec.GraceMS)
}

// settled reports whether the outcome stands: the command ended by itself,
// and what it left does not count.
func (r *run) settled() bool {
	return r.status != nil && killsLeftovers(r.spec) && r.reason == ""
}

func killsLeftovers(spec ipc.RunSpec) bool { return spec.Leftovers != "wait" }

// stop stops the run: TERM now, KILL after the grace. The first reason stays;
// a later call may shorten the grace.
func (r *run) stop(reason, problem string, grace time.Duration) {
	r.notice()
	if r.reason == "" && !r.settled() {
		r.reason, r.problem = reason, problem
		r.tree.terminate()
	}
	r.killWithin(grace)
}

// notice notes the command's own end if it has come already: what it left may
// have heard of it, and told others, before this goroutine has.
func (r *run) notice() {
	if r.status != nil {
		return
	}
	r.tree.mu.Lock() // held while the end is told to what is left
	defer r.tree.mu.Unlock()
	select {
	case status := <-r.tree.ended:
		r.leaderEnded(status)
	default:
	}
}

// killWithin has what is left killed after the grace, or earlier if that was
// agreed already.
func (r *run) killWithin(grace time.Duration) {
	at := time.Now().Add(grace)
	switch {
	case r.killing == nil:
		r.killing = time.NewTimer(grace)
	case at.Before(r.killAt):
		r.killing.Reset(grace)
	default:
		return
	}
	r.killAt = at
}

func (r *run) timedOut() {
	limit := milliseconds(r.spec.TimeoutMS)
	r.stop("timeout", fmt.Sprintf("timed out after %s", limit), r.grace())
}

// kill kills what is left, again and again.
func (r *run) kill() {
	r.tree.kill()
	r.killing.Reset(killAgain)
	r.killAt = time.Now().Add(killAgain)
}

// leaderEnded notes the command's own end. The tree has sent TERM to what it
// left by now, unless that is waited for.
func (r *run) leaderEnded(status syscall.WaitStatus) {
	r.status = &status
	if killsLeftovers(r.spec) {
		r.killWithin(r.grace())
	}
}

// nobodyLeft gives the pump a moment to read what is in the pipe.
func (r *run) nobodyLeft(u usage) {
	r.empty, r.usage = true, u
	r.closeCgroup()
	stopTimer(r.timeout)
	stopTimer(r.killing)
	r.out.finishWithin(drainTime)
}

func (r *run) outputEnded() { r.ended = true }

// closeCgroup kills what is in the run's cgroup, although it should be empty,
// and removes it. Should that fail, the cgroup goes with the worker's.
func (r *run) closeCgroup() {
	if r.cgroup != nil {
		r.oomKilled = r.cgroup.OOMKills() > 0
		_ = r.cgroup.Close()
	}
}

// over reports whether nothing is left to wait for.
func (r *run) over() bool { return r != nil && r.empty && r.ended }

// closeLog closes the log. The error tells what did not get into it.
func (r *run) closeLog() error {
	if r.log == nil {
		return nil
	}
	r.to = r.position()
	closed := r.log.Close()
	s := r.log.Stats()
	r.lost = s.DroppedLines
	if s.DroppedLines > 0 {
		return fmt.Errorf("%d lines (%d bytes) of the output are lost: %w", s.DroppedLines, s.DroppedBytes, cmp.Or(s.LastError, closed))
	}
	return closed
}

// position is that of the next line in the log, nil if it is not known.
func (r *run) position() *ipc.LogPosition {
	if r.log == nil {
		return nil
	}
	p, err := r.log.Position()
	if err != nil {
		return nil
	}
	return (*ipc.LogPosition)(&p)
}

// logRange is where the output is, nil if that is not known.
func (r *run) logRange() *ipc.LogRange {
	if r.from == nil || r.to == nil {
		return nil
	}
	return &ipc.LogRange{From: *r.from, To: *r.to}
}

// finished is the report of the run.
func (r *run) finished() ipc.Finished {
	f := ipc.Finished{
		Run:         r.spec.ID,
		Error:       r.problem,
		Reason:      r.reason,
		UserMS:      r.usage.user.Milliseconds(),
		SystemMS:    r.usage.system.Milliseconds(),
		MaxRSSBytes: r.usage.maxRSS,
		LostLines:   r.lost,
		Log:         r.logRange(),
	}
	if f.Error == "" && r.oomKilled {
		f.Error = "out of memory: processes were killed at limits.memory"
	}
	if r.status.Signaled() {
		f.Signal = unix.SignalName(r.status.Signal())
	} else {
		code := r.status.ExitStatus()
		f.ExitCode = &code
	}
	return f
}

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}
