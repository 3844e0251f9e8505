package worker

import (
	"cmp"
	"errors"
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
	// drainTime bounds how long a log may take for the rest of the output
	// after the last process ended, and hurriedDrainTime that of a worker that
	// has to go.
	drainTime        = 5 * time.Second
	hurriedDrainTime = time.Second
)

// errSlowLog is why output is lost that never came to the log.
var errSlowLog = errors.New("the log took nothing for too long")

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
func startRun(s starter, spec ipc.RunSpec, env []string, cgroup *procworker.Cgroup, warning string) (*run, error) {
	r := &run{spec: spec, cgroup: cgroup}
	var sink io.Writer = io.Discard
	if spec.Log != "" {
		r.log = logs.New(spec.Log, logs.Limits{
			MaxSize:  spec.LogLimits.MaxSizeBytes,
			MaxFiles: spec.LogLimits.MaxFiles,
			MaxAge:   milliseconds(spec.LogLimits.MaxAgeMS),

			RotateEvery: milliseconds(spec.LogLimits.RotateEveryMS),
		})
		sink = r.log
	}
	r.from = r.position()
	err := r.startIn(s, sink, env, warning)
	if err != nil {
		r.closeCgroup()
		_ = r.closeLog()
		return r, err
	}
	if spec.TimeoutMS > 0 {
		r.timeout = time.NewTimer(milliseconds(spec.TimeoutMS))
	}
	return r, nil
}

func (r *run) startIn(s starter, sink io.Writer, env []string, warning string) (err error) {
	if r.out, err = newOutput(sink); err != nil {
		fmt.Fprintf(sink, "poppobuilder: %v\n", err)
		return err
	}
	if warning != "" {
		r.out.say(warning)
	}
	if err = r.startCommand(s, env); err != nil {
		r.out.say(err)
	}
	r.out.started()
	if err != nil {
		r.out.finish(drainTime)
	}
	return err
}

func (r *run) startCommand(s starter, env []string) error {
	path, err := findCommand(r.spec.Command, r.spec.Dir, env)
	if err != nil {
		return err
	}
	if r.tree, err = startTree(s, path, r.spec, env, r.out, r.cgroup); err != nil {
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
	losing        <-chan struct{} // what the log lost
	dropping      <-chan struct{} // what never came to it
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
		e.drained = r.out.ended
		e.losing, e.dropping = r.out.sink.losing, r.out.capture.Losing()
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

// nobodyLeft gives the log a moment to take the rest of the output.
func (r *run) nobodyLeft(u usage, patience time.Duration) {
	r.empty, r.usage = true, u
	r.closeCgroup()
	stopTimer(r.timeout)
	stopTimer(r.killing)
	go r.out.finish(patience)
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
	var lines, bytes uint64
	if r.out != nil { // else there was none
		lines, bytes = r.out.capture.Dropped()
		r.lost = r.out.lost()
	}
	if r.out != nil && r.out.hung {
		go r.closeLater()
		return fmt.Errorf("%d lines (%d bytes) of the output are lost, and maybe what the log was given last: %s takes nothing", r.lost, bytes, r.spec.Log)
	}
	r.to = r.position()
	closed := r.log.Close()
	s := r.log.Stats()
	r.lost = s.DroppedLines + int64(lines)
	if r.lost > 0 {
		return fmt.Errorf("%d lines (%d bytes) of the output are lost: %w", r.lost, s.DroppedBytes+int64(bytes), cmp.Or(s.LastError, closed, errSlowLog))
	}
	return closed
}

// closeLater closes the log when it has taken what it was given.
func (r *run) closeLater() {
	<-r.out.flushed
	_ = r.log.Close()
}

// positionWait is how long a log may take to say where it is. One that hangs does
// not hold up the run.
const positionWait = time.Second

// position is that of the next line in the log, nil if it is not known.
func (r *run) position() *ipc.LogPosition {
	if r.log == nil {
		return nil
	}
	told := make(chan *ipc.LogPosition, 1)
	go func() {
		p, err := r.log.Position()
		if err != nil {
			told <- nil
			return
		}
		told <- (*ipc.LogPosition)(&p)
	}()
	timer := time.NewTimer(positionWait)
	defer timer.Stop()
	select {
	case p := <-told:
		return p
	case <-timer.C:
		return nil
	}
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
