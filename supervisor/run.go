package supervisor

import (
	"errors"
	"time"

	"github.com/thejerf/suture/v4"
)

// A run is one start of a member: one goroutine.
type run struct {
	m         *member
	ctx       runContext
	first     bool        // of its member
	told      bool        // to stop
	abandoned bool        // it did not, in time
	over      bool        // it has ended
	deadline  *time.Timer // for its stop
}

// serve is the goroutine of a run. What it calls has small frames, so that a
// child that fails and is started again gets by with the smallest stack.
func (r *run) serve() {
	exit, verdict := errGoexit, failed
	defer func() { r.end(exit, verdict) }() // after a Goexit too
	exit = r.call()
	verdict, exit = r.m.judge(exit)
}

// call serves the child and returns how it ended.
func (r *run) call() (exit error) {
	defer func() {
		if p := recover(); p != nil {
			exit = newPanicError(p)
		}
	}()
	if _, ok := r.m.service.(*suture.Supervisor); ok && !r.first {
		return errSutureAgain
	}
	if r.m.readies {
		return r.m.service.(ReadyService).ServeReady(&r.ctx, r.becomeReady)
	}
	return r.m.service.Serve(&r.ctx)
}

// becomeReady is the ready function of a run. The child may call it from
// anywhere, at any time, and so too late.
func (r *run) becomeReady() {
	m, s := r.m, r.m.sup
	s.mu.Lock()
	defer s.unlock()
	if m.run == r && m.state == StateStarting {
		now := s.now()
		m.becomeReady(now)
		s.advance(now)
	}
}

// end takes the news that the run has ended with exit, which means verdict.
func (r *run) end(exit error, verdict ending) {
	m, s := r.m, r.m.sup
	stopped := r.ctx.serving.ctx.Err()
	s.mu.Lock()
	defer s.unlock()
	now := s.now()
	if stopped != nil && s.serving == r.ctx.serving {
		// Serve may not have noticed yet. It is no failure to end now.
		s.shutdown(stopped, now)
		s.advanceStops(now)
	}
	r.over = true
	if r.deadline != nil {
		r.deadline.Stop()
	}
	if r.abandoned {
		s.returned(r, exit, now)
	} else {
		s.running--
		if !r.told {
			s.cancels = append(s.cancels, r) // for what it left behind
		}
		// What it wants for ever it wants also while others of its group stop.
		forEver := !r.told && (verdict == final || verdict == treeEnd)
		if (r.told || m.halt) && !forEver {
			s.endedAsked(m, exit, now)
		} else {
			s.endedUnasked(m, exit, verdict, now)
			// Here, and not in failed, so that the stack need not grow.
			if m.state == StateBackoff && m.trouble.timer == nil {
				m.due(now)
			}
		}
	}
	s.advance(now)
}

// overdue takes the news that the run has not stopped in its time.
func (r *run) overdue() {
	m, s := r.m, r.m.sup
	s.mu.Lock()
	defer s.unlock()
	if r.over || r.abandoned {
		return
	}
	now := s.now()
	r.abandoned = true
	s.running--
	m.settleTrouble()
	if s.loose == nil {
		s.loose = make(map[*run]uint64)
	}
	s.loose[r] = m.generation
	m.enter(StateAbandoned, now)
	m.tell(EventAbandoned, now, nil)
	m.unhalt()
	m.released(ErrAbandoned, now)
	s.advance(now)
}

// errSutureAgain is how a suture supervisor ends that is started a second time:
// its Serve would block for ever, with nothing inside.
var errSutureAgain = errors.New("a suture supervisor can be served only once: make a new one in each call of a ServiceFunc")
