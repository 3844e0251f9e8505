package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Administration. None of it waits for anything but the child in question, so
// it works while another one hangs in its start, its stop, or a loop of restarts.

// Add adds a child behind the others. A supervisor that is being served starts
// it at once, and Add returns when it is ready (with [Spec].Background: when it
// was started), or has ended normally before that. One that is not being served
// starts it when it is.
//
// If the child ends before it is ready, it is not added, and Add returns a
// *[StartError]. Further errors: one or more *[SpecError]; [ErrAlreadyStarted] and
// [ErrAlreadyPresent]; [ErrAbandoned], if a goroutine of a deleted child of this
// name still runs, unless AllowAbandoned is set; [ErrTerminated] and
// [ErrNotServed], if that happened meanwhile; ctx's error, while the start goes
// on.
//
// A child that was added stays for the next Serve, except for a temporary one
// that was added during a Serve: it is forgotten as soon as it does not run.
func (s *Supervisor) Add(ctx context.Context, spec Spec) error {
	spec = spec.withDefaults()
	errs := spec.check(s.opts.AutoShutdown)
	if holds(spec.Service, s) {
		errs = append(errs, errors.New("is this supervisor, or one that holds it"))
	}
	if err := specErrors(s.opts.Name, spec.Name, errs); err != nil {
		return err
	}
	ready, err := s.add(spec)
	if err == nil {
		err = await(ctx, ready)
	}
	if _, ok := err.(*StartError); ok || err == nil {
		return err
	}
	return fmt.Errorf("add %s to %s: %w", spec.Name, s, err)
}

// add returns a channel that gives the result of the start, or nil.
func (s *Supervisor) add(spec Spec) (ready <-chan error, err error) {
	s.mu.Lock()
	defer s.unlock()
	if m := s.byName[spec.Name]; m != nil {
		if m.want || m.run != nil && s.phase != phaseIdle {
			return nil, ErrAlreadyStarted
		}
		return nil, ErrAlreadyPresent
	}
	if s.haunted(spec.Name) && !spec.AllowAbandoned {
		return nil, ErrAbandoned
	}
	if s.phase == phaseStopping {
		return nil, ErrNotServed
	}
	now := s.now()
	served := s.phase != phaseIdle
	m := newMember(s, spec, now)
	m.attach()
	s.insert(m, !served || spec.Restart != Temporary)
	m.tell(EventAdded, now, nil)
	if !served {
		return nil, nil
	}
	return m.begin(addTrial, now), nil
}

// begin starts m at once, and returns a channel that gives the result.
func (m *member) begin(t trial, now time.Time) <-chan error {
	m.want, m.trial = true, t
	if m.policy.Load().background {
		m.trial = noTrial
	}
	ready := m.awaitReady()
	m.start(now)
	return ready
}

// haunted reports whether an abandoned run of this name is left.
func (s *Supervisor) haunted(name string) bool {
	for r := range s.loose {
		if r.m.name == name {
			return true
		}
	}
	return false
}

// Terminate stops a child, and returns when it has stopped. Its spec stays, for
// [Supervisor.Restart], unless it is a temporary child that was added during the
// Serve. A restart that is due is cancelled. A failure of a sibling does not
// start it again. Terminating what does not run is no error.
//
// Errors: [ErrNotFound]; [ErrAbandoned], if it still runs after its time; ctx's
// error, while the stop goes on.
func (s *Supervisor) Terminate(ctx context.Context, name string) error {
	s.mu.Lock()
	m := s.byName[name]
	if m == nil {
		s.mu.Unlock()
		return fmt.Errorf("terminate %s in %s: %w", name, s, ErrNotFound)
	}
	ended := m.terminate(s.now())
	s.unlock()
	if err := await(ctx, ended); err != nil {
		return fmt.Errorf("terminate %s in %s: %w", name, s, err)
	}
	return nil
}

// terminate returns a channel that gives the result.
func (m *member) terminate(now time.Time) <-chan error {
	s := m.sup
	m.want, m.gated, m.again, m.trial = false, false, false, noTrial
	m.answerReady(ErrTerminated)
	ended := m.awaitEnd()
	switch {
	case m.state == StateAbandoned:
		m.released(ErrAbandoned, now)
	case m.run == nil:
		m.idle(now)
		m.released(nil, now)
	case !m.run.told && s.phase != phaseStopping: // there it waits for its turn
		m.stop(now)
	}
	if s.phase != phaseIdle {
		s.advance(now) // it may have been in the way of others
	}
	return ended
}

// Restart starts a child that was terminated or has ended, and returns when it
// is ready, or has ended normally before that. A child whose restart is due
// later is started without further delay (here we differ from OTP's
// restart_child, which answers restarting).
//
// Errors: [ErrNotFound]; [ErrRunning]; [ErrRestarting], if it waits for its
// siblings; [ErrAbandoned], if it is and AllowAbandoned is not set; a
// *[StartError], after which it is as it was before: terminated, ended, or in
// backoff; ctx's error, while the start goes on, whose failure is then told by
// events only; [ErrNotServed] and [ErrTerminated].
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	ready, err := s.restart(name)
	if err == nil {
		err = await(ctx, ready)
	}
	if err != nil {
		return fmt.Errorf("restart %s in %s: %w", name, s, err)
	}
	return nil
}

func (s *Supervisor) restart(name string) (ready <-chan error, err error) {
	s.mu.Lock()
	defer s.unlock()
	m := s.byName[name]
	now := s.now()
	switch {
	case m == nil:
		return nil, ErrNotFound
	case s.phase != phaseStarting && s.phase != phaseUp:
		return nil, ErrNotServed
	case m.state == StateAbandoned && !m.policy.Load().allowAbandoned:
		return nil, ErrAbandoned
	case m.run != nil && m.state != StateAbandoned:
		return nil, ErrRunning
	case m.want && m.state != StateBackoff: // it waits for its siblings, or for an abandoned run
		return nil, ErrRestarting
	case m.state == StateBackoff:
		ready = m.awaitReady()
		m.due(now)
		s.advance(now)
		return ready, nil
	}
	t := endedTrial
	if m.state == StateIdle || m.state == StateAbandoned {
		t = idleTrial
	}
	m.run = nil
	m.clear()
	return m.begin(t, now), nil
}

// Delete takes a child out that does not run: one that was terminated or has
// ended. If it was abandoned, its goroutine stays in [Supervisor.Abandoned].
//
// Errors: [ErrNotFound]; [ErrRunning]; [ErrRestarting].
func (s *Supervisor) Delete(name string) error {
	s.mu.Lock()
	defer s.unlock()
	m := s.byName[name]
	var err error
	switch {
	case m == nil:
		err = ErrNotFound
	case m.run != nil && !m.run.abandoned:
		err = ErrRunning
	case m.want && s.phase != phaseIdle:
		err = ErrRestarting
	default:
		s.remove(m)
		return nil
	}
	return fmt.Errorf("delete %s from %s: %w", name, s, err)
}

// remove takes m out for good. It is called with mu held.
func (s *Supervisor) remove(m *member) {
	m.keep = false
	s.drop(m, s.now())
}

// SetIntensity puts i in force. Failures before it count if there was a limit.
func (s *Supervisor) SetIntensity(i Intensity) {
	s.mu.Lock()
	defer s.unlock()
	s.limit = i.withDefaults()
}

// SetBackoff puts b in force for a child. Its next delay is b's InitialDelay; one
// that is pending goes on, but no longer than b's MaxDelay. It returns an error
// that wraps [ErrNotFound].
func (s *Supervisor) SetBackoff(name string, b Backoff) error {
	s.mu.Lock()
	defer s.unlock()
	m := s.byName[name]
	if m == nil {
		return fmt.Errorf("set backoff of %s in %s: %w", name, s, ErrNotFound)
	}
	now := s.now()
	m.setBackoff(b.withDefaults(), now)
	if s.phase != phaseIdle {
		s.advance(now)
	}
	return nil
}

// setBackoff is called with mu held.
func (m *member) setBackoff(b Backoff, now time.Time) {
	p := *m.policy.Load()
	if p.backoff == b {
		return
	}
	p.backoff = b
	m.policy.Store(&p)
	t := m.trouble
	if t == nil {
		return
	}
	t.own, t.host = nil, nil
	if end := m.since.Add(b.longest()); m.state == StateBackoff && end.Before(t.NextTry) {
		t.NextTry = end
		if t.timer != nil {
			t.timer.Stop()
		}
		m.wake(end.Sub(now))
	}
}

// await returns what comes out of result, or ctx's error. A nil result has
// nothing to say.
func await(ctx context.Context, result <-chan error) error {
	if result == nil {
		return nil
	}
	select {
	case err := <-result:
		return err
	default:
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holds reports whether svc is target, or has it somewhere inside.
func holds(svc Service, target *Supervisor) bool {
	n, ok := svc.(nest)
	if !ok {
		return false
	}
	s := n.core()
	if s == nil || s == target {
		return s != nil
	}
	s.mu.Lock()
	services := make([]Service, len(s.members))
	for i, m := range s.members {
		services[i] = m.service
	}
	s.mu.Unlock()
	return slices.ContainsFunc(services, func(inner Service) bool { return holds(inner, target) })
}
