package supervisor

import (
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// A member is a child of a supervisor. All of it is guarded by the supervisor's
// mu, except for what never changes: sup, name, service and the flags at the end.
// A supervisor may have very many, so the fields are as small as they can be.
type member struct {
	sup     *Supervisor
	name    string
	service Service
	policy  atomic.Pointer[policy]

	run        *run          // the current one, abandoned or not; nil if none
	since      time.Time     // of state
	readyAt    time.Duration // since the supervisor was made, if isReady
	generation uint64
	restarts   int
	trouble    *trouble // nil if it never ended by itself
	waiting    *waiting // nil if nobody does
	pos        int32    // in sup.members
	state      State
	isReady    bool // or was, before it was told to stop

	// What is to become of it. Both halt and gated are steps of an ordered
	// stop or start: see order.go.
	want  bool  // it is to run
	halt  bool  // its run is to stop when it is its turn
	gated bool  // its start, or its being ready, is waited for by those after it
	trial trial // what happens if it ends before it is ready
	again bool  // the next start is a restart
	final bool  // it asked never to be started again
	keep  bool  // the next Serve starts it

	restart Restart
	readies bool // the service is a ReadyService
	nested  bool // the service has a status of its own
}

// A trouble is what is known of runs that ended by themselves. It is apart
// because most members have none.
type trouble struct {
	Trouble
	recent    []error         // the failures in a row, the latest five, oldest first
	own, host backoff.BackOff // nil: at the first step
	timer     *time.Timer     // to NextTry
}

// Those who wait for a member. Each channel has room for its one error.
type waiting struct {
	ready []chan<- error // until it is ready
	ended []chan<- error // until its run has ended
}

func newMember(s *Supervisor, spec Spec, now time.Time) *member {
	m := &member{
		sup: s, name: spec.Name, service: spec.Service, since: now,
		restart: spec.Restart,
	}
	s.latest = spec.policy(s.latest)
	m.policy.Store(s.latest)
	_, m.readies = spec.Service.(ReadyService)
	_, m.nested = spec.Service.(nest)
	return m
}

// A trial is a start whose failure is answered to somebody, instead of being
// followed by a restart.
type trial int8

const (
	noTrial    trial = iota
	serveTrial       // the first start of a Serve
	addTrial         // by Add
	endedTrial       // by Restart, of one that had ended
	idleTrial        // by Restart, of one that had been terminated
)

// The rest of this file is called with the supervisor's mu held.

// fleeting reports whether m is gone for good when it has ended.
func (m *member) fleeting() bool {
	return m.sup.pool || m.restart == Temporary && !m.keep
}

// renew makes m ready for the start of a new Serve.
func (m *member) renew(now time.Time) {
	m.want, m.gated, m.again = true, true, false
	m.trial = serveTrial
	if m.policy.Load().background || m.sup.only != nil {
		m.trial = noTrial
	}
	m.clear()
	if m.state != StateAbandoned {
		m.enter(StateWaiting, now)
	}
}

// clear forgets the failures in a row.
func (m *member) clear() {
	if t := m.trouble; t != nil {
		t.Consecutive, t.recent, t.own, t.host = 0, nil, nil, nil
	}
}

func (m *member) enter(st State, now time.Time) { m.state, m.since = st, now }

func (m *member) unhalt() {
	if m.halt {
		m.halt = false
		m.sup.halts--
	}
}

// forget drops m if it is fleeting and not wanted any more. While its supervisor
// stops it is left to the end.
func (m *member) forget(now time.Time) {
	if m.fleeting() && !m.want && m.sup.phase != phaseStopping {
		m.sup.drop(m, now)
	}
}

// start opens a run.
func (m *member) start(now time.Time) {
	s := m.sup
	r := &run{m: m, first: m.generation == 0, ctx: runContext{serving: s.serving, done: make(chan struct{})}}
	m.run = r
	s.running++
	m.generation++
	m.enter(StateStarting, now)
	kind := EventStarting
	if m.again {
		kind = EventRestarted
		m.restarts++
		s.restarts++
	}
	m.again, m.final = false, false
	m.tell(kind, now, nil)
	if !m.readies {
		m.becomeReady(now)
	} else if m.policy.Load().background {
		m.gated = false
		m.answerReady(nil)
	}
	s.starts = append(s.starts, r)
}

func (m *member) becomeReady(now time.Time) {
	m.isReady, m.readyAt = true, m.sup.at
	m.gated, m.trial = false, noTrial
	m.enter(StateReady, now)
	m.tell(EventReady, now, nil)
	m.answerReady(nil)
}

// stop tells the run to stop, and looks after it when its time is over.
func (m *member) stop(now time.Time) {
	r, s := m.run, m.sup
	r.told = true
	s.cancels = append(s.cancels, r)
	m.enter(StateStopping, now)
	m.tell(EventStopping, now, nil)
	if d := m.policy.Load().stopTime(); d != Infinite {
		r.deadline = time.AfterFunc(d, r.overdue)
	}
}

// stable reports whether the run was ready for long enough to forgive the
// failures before it.
func (m *member) stable() bool {
	after := m.policy.Load().backoff.ResetAfter
	return after > 0 && m.isReady && m.sup.at-m.readyAt >= after
}

// close ends the run, which is not abandoned.
func (m *member) close() {
	m.settleTrouble()
	m.run = nil
	m.unhalt()
}

// settleTrouble forgives the earlier failures if the run that is over, or
// abandoned, was stable.
func (m *member) settleTrouble() {
	if m.stable() {
		m.clear()
	}
	m.isReady = false
}

// left notes that a run ended by itself.
func (m *member) left(exit error, now time.Time) {
	if m.trouble == nil {
		m.trouble = new(trouble)
	}
	m.trouble.LastError, m.trouble.LastExit = exit, now
}

// fail notes that this was a failure.
func (t *trouble) fail(exit error) {
	t.Consecutive++
	if len(t.recent) == keptErrors {
		t.recent = append(t.recent[:0], t.recent[1:]...)
	}
	t.recent = append(t.recent, exit)
}

// delay is how long to wait after a failure of the child's own, or of the host.
func (t *trouble) delay(b Backoff, e ending) time.Duration {
	// The host's trouble has a sequence of delays of its own, so that it does
	// not lengthen those after the child's next failure.
	seq := &t.own
	if e == hosts {
		seq = &t.host
	} else {
		t.host = nil
	}
	if *seq == nil {
		*seq = b.delays()
	}
	return min((*seq).NextBackOff(), b.longest())
}

// tellExit tells how the run ended.
func (m *member) tellExit(exit error, now time.Time) { m.tellExitOf(m.generation, exit, now) }

func (m *member) tellExitOf(generation uint64, exit error, now time.Time) {
	kind := EventExited
	if isPanic(exit) {
		kind = EventPanicked
	}
	m.tellAll(kind, now, exit, 0, generation)
}

// tell hands an event on.
func (m *member) tell(kind EventKind, now time.Time, err error) {
	m.tellAll(kind, now, err, 0, m.generation)
}

func (m *member) tellAll(kind EventKind, now time.Time, err error, delay time.Duration, generation uint64) {
	if !m.sup.hub.idle() {
		m.queue(kind, now, err, delay, generation)
	}
}

// queue leaves an event to unlock. It is not inlined, to keep the event out of
// the frames of its callers.
//
//go:noinline
func (m *member) queue(kind EventKind, now time.Time, err error, delay time.Duration, generation uint64) {
	m.sup.events = append(m.sup.events, Event{
		Kind: kind, Time: now, Err: err, Delay: delay,
		Name: m.name, State: m.state, Generation: generation,
	})
}

// attach leads the events of a child that has events of its own to ours.
func (m *member) attach() {
	if h := innerHub(m.service); h != nil {
		h.attach(upward{&m.sup.hub, m.name})
	}
}

func (m *member) detach() {
	if h := innerHub(m.service); h != nil {
		h.detach(upward{&m.sup.hub, m.name})
	}
}

// awaitReady returns a channel that gives one error, when m is ready or will
// not be.
func (m *member) awaitReady() <-chan error {
	c := make(chan error, 1)
	if m.waiting == nil {
		m.waiting = new(waiting)
	}
	m.waiting.ready = append(m.waiting.ready, c)
	return c
}

// awaitEnd returns a channel that gives one error, when the run of m has ended.
func (m *member) awaitEnd() <-chan error {
	c := make(chan error, 1)
	if m.waiting == nil {
		m.waiting = new(waiting)
	}
	m.waiting.ended = append(m.waiting.ended, c)
	return c
}

func (m *member) answerReady(err error) {
	if m.waiting != nil {
		answer(&m.waiting.ready, err)
	}
}

func (m *member) answerEnd(err error) {
	if m.waiting != nil {
		answer(&m.waiting.ended, err)
	}
}

func answer(waiters *[]chan<- error, err error) {
	for _, c := range *waiters {
		c <- err
	}
	*waiters = nil
}
