package supervisor

import "time"

// In which order children start and stop. All of this file is called with mu
// held.
//
// Stops in order: every member that has to stop has halt set, and the last of
// them is told; when that has stopped or was abandoned, the next. Starts in
// order: every member that has to start has gated set, and the first of them is
// started; when that is ready, the next. No start comes before all stops.
// Whatever happens meanwhile only sets or clears these two flags and calls
// advance. A child that is terminated, restarted or added by hand takes no part
// in this, and so does not wait for a sibling that hangs.

// advance takes all steps that can be taken now.
func (s *Supervisor) advance(now time.Time) {
	s.advanceStops(now)
	switch s.phase {
	case phaseStopping:
		if s.running == 0 {
			s.end(now)
		}
	case phaseStarting, phaseUp:
		if s.advanceStarts(now) && s.phase == phaseStarting {
			s.enter(phaseUp, now)
			s.closes = append(s.closes, s.serving.up)
		}
	}
}

func (s *Supervisor) advanceStops(now time.Time) {
	for ; s.halts > 0 && s.haltTop >= 0; s.haltTop-- {
		m := s.members[s.haltTop]
		if !m.halt {
			continue
		}
		if !m.run.told {
			m.stop(now)
		}
		if !s.pool {
			return
		}
	}
}

// advanceStarts reports whether nothing is left to be started in order.
func (s *Supervisor) advanceStarts(now time.Time) bool {
	if s.halts > 0 || s.opts.Strategy == OneForAll && s.backoffs > 0 {
		return false
	}
	for ; s.gateLow < len(s.members); s.gateLow++ {
		m := s.members[s.gateLow]
		if !m.gated {
			continue
		}
		if m.state == StateAbandoned && m.policy.Load().allowAbandoned {
			m.run = nil // it goes on by itself, among the loose ones
		}
		if m.run != nil && m.policy.Load().background { // abandoned: nobody waits for it
			continue
		}
		if m.run != nil || m.state == StateBackoff {
			return false
		}
		m.start(now)
		if m.gated {
			return false
		}
	}
	return true
}

// shutdown makes the Serve end with cause: all children stop, in reverse order.
func (s *Supervisor) shutdown(cause error, now time.Time) {
	if s.phase != phaseStarting && s.phase != phaseUp {
		return
	}
	s.enter(phaseStopping, now)
	s.serving.cause = cause
	close(s.serving.ending)
	for _, m := range s.members {
		m.want, m.gated = false, false
		m.answerReady(ErrNotServed)
		switch {
		case m.run == nil && m.state != StateEnded && m.state != StateGaveUp:
			m.idle(now)
		case m.run != nil && !m.run.abandoned:
			s.halt(m)
		}
	}
}

// halt makes m stop when it is its turn.
func (s *Supervisor) halt(m *member) {
	if !m.halt {
		m.halt = true
		s.halts++
	}
	s.haltTop = len(s.members) - 1
}

// gate makes m start when it is its turn.
func (s *Supervisor) gate(m *member) {
	m.want, m.gated = true, true
	s.gateLow = min(s.gateLow, int(m.pos))
}

// endedAsked goes on after a run that ended as it was told to.
func (s *Supervisor) endedAsked(m *member, exit error, now time.Time) {
	m.close()
	m.tellExit(exit, now)
	if m.want {
		m.enter(StateWaiting, now)
	} else {
		m.enter(StateIdle, now)
	}
	m.tell(EventStopped, now, nil)
	m.released(nil, now)
}

// released answers those who wait for the end of a run that was told to stop, or
// for its being ready, which will not be if it is not to run again.
func (m *member) released(err error, now time.Time) {
	m.answerEnd(err)
	if !m.want {
		m.answerReady(ErrTerminated)
	}
	m.forget(now)
}

// returned goes on after the end of a run that had been abandoned.
func (s *Supervisor) returned(r *run, exit error, now time.Time) {
	generation := s.loose[r]
	delete(s.loose, r)
	m := r.m
	if m.run == r {
		m.run = nil
		if m.want {
			m.enter(StateWaiting, now)
			s.gateLow = min(s.gateLow, int(m.pos)) // it may have been passed over
		} else {
			m.enter(StateIdle, now)
		}
	}
	m.tellExitOf(generation, exit, now)
}
