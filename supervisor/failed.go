package supervisor

import (
	"time"
)

// What follows from a run that ended by itself: the rules of restart types,
// intensity and strategies. All of this file is called with mu held.

// endedUnasked goes on after a run that ended by itself.
func (s *Supervisor) endedUnasked(m *member, exit error, verdict ending, now time.Time) {
	early := m.state == StateStarting
	m.close()
	m.left(exit, now)
	switch {
	case verdict == treeEnd:
		m.finish(exit, now, StateEnded)
		m.tell(EventEnded, now, exit)
		if s.only == nil {
			exit = &endError{name: m.name, exit: exit}
		}
		s.shutdown(exit, now)
	case verdict == final, verdict == normal && m.restart != Permanent:
		m.final = verdict == final
		s.ended(m, exit, now)
	case early && m.trial != noTrial:
		s.failedToStart(m, exit, now)
	case m.restart == Temporary:
		s.ended(m, exit, now)
	default:
		s.failed(m, exit, verdict, now)
	}
}

// finish closes the life of m, until somebody starts it again.
func (m *member) finish(exit error, now time.Time, st State) {
	m.want, m.gated = false, false
	m.enter(st, now)
	m.tellExit(exit, now)
	m.answerEnd(nil) // a Terminate whose turn to stop it had not come
}

// ended goes on after m has ended as its policy or its error wants it.
func (s *Supervisor) ended(m *member, exit error, now time.Time) {
	m.finish(exit, now, StateEnded)
	if s.only != nil && !m.final {
		exit = &endError{name: m.name, exit: exit, also: ErrDoNotRestart}
	}
	m.tell(EventEnded, now, exit)
	m.answerReady(nil)
	switch {
	case s.only != nil:
		s.shutdown(exit, now)
	case m.policy.Load().significant && (s.opts.AutoShutdown == AnySignificant || !s.significant()):
		s.shutdown(nil, now)
	}
	m.forget(now)
}

// significant reports whether a significant child runs or is about to.
func (s *Supervisor) significant() bool {
	for _, m := range s.members {
		if m.policy.Load().significant && m.want {
			return true
		}
	}
	return false
}

// failedToStart answers whoever wanted m to be started.
func (s *Supervisor) failedToStart(m *member, exit error, now time.Time) {
	err, trial := s.startError(m, exit), m.trial
	st := StateEnded
	if trial == idleTrial {
		st = StateIdle
	}
	m.finish(exit, now, st)
	m.tell(EventEnded, now, err)
	m.answerReady(err)
	switch trial {
	case serveTrial:
		s.shutdown(err, now)
	case addTrial:
		s.remove(m)
	default:
		m.forget(now)
	}
}

// failed starts m again, and its siblings as the strategy wants it, or gives up.
func (s *Supervisor) failed(m *member, exit error, verdict ending, now time.Time) {
	t := m.trouble
	if verdict != hosts {
		t.fail(exit)
		if s.failures.exceeds(s.limit, now) {
			s.giveUp(m, exit, now)
			return
		}
	}
	delay := t.delay(m.policy.Load().backoff, verdict)
	m.want, m.again = true, true
	m.enter(StateBackoff, now)
	s.backoffs++
	t.NextTry = now.Add(delay)
	m.tellExit(exit, now)
	m.tellAll(EventBackingOff, now, exit, delay, m.generation)
	if m.waiting != nil { // a Restart that has cut the last delay
		m.answerReady(s.startError(m, exit))
	}
	s.pullSiblings(m, now)
	if delay > 0 {
		m.wake(delay)
	} // else the caller's caller ends it: see run.end
}

func (s *Supervisor) startError(m *member, exit error) error {
	return &StartError{Supervisor: s.opts.Name, Child: m.name, Err: exit}
}

// giveUp ends the Serve because of m.
func (s *Supervisor) giveUp(m *member, exit error, now time.Time) {
	var err error = &IntensityError{Supervisor: s.opts.Name, Child: m.name, Intensity: s.limit, Last: m.trouble.recent}
	if s.only != nil {
		err = &GaveUpError{Name: m.name, Restarts: max(s.limit.MaxRestarts, 0), Within: s.limit.Within, Last: exit}
	}
	m.answerReady(s.startError(m, exit)) // a Restart that has cut the last delay
	m.finish(exit, now, StateGaveUp)
	m.tell(EventGaveUp, now, err)
	s.shutdown(err, now)
}

// wake ends a delay later.
func (m *member) wake(delay time.Duration) {
	s, generation := m.sup, m.generation
	m.trouble.timer = time.AfterFunc(delay, func() {
		s.mu.Lock()
		defer s.unlock()
		if m.state == StateBackoff && m.generation == generation {
			now := s.now()
			m.due(now)
			s.advance(now)
		}
	})
}

// due ends a delay.
func (m *member) due(now time.Time) {
	m.endBackoff()
	if m.gated {
		m.enter(StateWaiting, now)
		return
	}
	m.start(now)
}

// idle makes m, which does not run, stay so.
func (m *member) idle(now time.Time) {
	switch m.state {
	case StateIdle:
		return
	case StateBackoff:
		m.endBackoff()
		m.enter(StateIdle, now)
		m.tell(EventStopped, now, nil)
	default:
		m.enter(StateIdle, now)
	}
}

func (m *member) endBackoff() {
	t := m.trouble
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.NextTry = time.Time{}
	m.sup.backoffs--
}

// pullSiblings makes those stop and start that the failure of m concerns.
func (s *Supervisor) pullSiblings(m *member, now time.Time) {
	var group []*member
	switch s.opts.Strategy {
	case OneForAll:
		group = s.members
	case RestForOne:
		group = s.members[m.pos:]
	default:
		return
	}
	s.gate(m)
	for _, sib := range group {
		if sib != m {
			s.pull(sib, now)
		}
	}
}

func (s *Supervisor) pull(m *member, now time.Time) {
	switch {
	case m.run != nil && !m.run.abandoned:
		s.halt(m)
		if m.restart == Temporary {
			m.want = false
		}
	case m.state == StateEnded && !m.final && m.restart != Temporary:
		m.enter(StateWaiting, now)
		m.want, m.trial = true, noTrial
	}
	if m.want {
		m.again = true
		if m.trial == endedTrial || m.trial == idleTrial {
			m.trial = noTrial // a start of the group now, like that of any other
		}
		s.gate(m)
	}
}
