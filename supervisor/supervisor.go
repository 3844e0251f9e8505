package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// SupervisorOptions describe a [Supervisor].
type SupervisorOptions struct {
	// Name is for events, errors and status. Empty: "supervisor".
	Name string
	// Strategy says which children are started again when one has failed.
	Strategy Strategy
	// Intensity limits how often children are started again, all of them
	// together, before the supervisor stops them and fails. Its zero value
	// never does that, as the delays of [Backoff] keep a broken child from
	// spinning; OTP's default is Intensity{MaxRestarts: 1, Within: 5 * time.Second}.
	Intensity Intensity
	// AutoShutdown says whether the end of significant children ends the
	// supervisor.
	AutoShutdown AutoShutdown
	// Children are started in this order, each when the one before is ready,
	// and stopped in the reverse order.
	Children []Spec
}

// A Supervisor runs named children, and starts them again by their policy and
// its [Strategy]. It is a [ReadyService], so that supervisors hold supervisors.
// Make it with [New]. Its methods may be called from any goroutine, those of its
// children included.
type Supervisor struct {
	opts SupervisorOptions
	hub  hub
	pool bool // children have no order, and are gone when they have ended

	// mu guards what follows, and all of every member. There is no owner loop:
	// whoever brings news (a run that ended, a timer, an administrator) takes
	// mu, makes the step, and goes. No code of others is called under it, and
	// nothing waits. Below it only locks of hubs are taken.
	mu      sync.Mutex
	limit   Intensity
	members []*member // in the order of their start
	kept    []*member // those that the next Serve starts
	byName  map[string]*member
	loose   map[*run]struct{} // abandoned runs
	since   time.Time         // of phase
	number  int               // of the latest pool child
	events  []Event           // to be delivered by unlock
	cancels []*run            // to be cancelled by unlock
	starts  []*run            // to be started by unlock

	// What follows belongs to one Serve.
	phase    phase
	base     context.Context // of all runs; not ended by Serve's context
	cause    error           // why it ends
	up       chan struct{}   // closed when all children are ready
	ending   chan struct{}   // closed when phase turns to phaseStopping
	stopped  chan struct{}   // closed when nothing runs any more
	quiet    bool            // stopped is closed
	failures window
	restarts int // in this and all earlier Serves
	running  int // runs that are not abandoned
	halts    int // members whose halt is set
	haltTop  int // no member after this one has halt set
	backoffs int // members in StateBackoff
	gateLow  int // no member before this one has gated set
}

// A phase is where a Serve is.
type phase int

const (
	phaseIdle     phase = iota // there is none
	phaseStarting              // some child has not been ready yet
	phaseUp                    // all were
	phaseStopping              // no child is started any more
)

// New makes a supervisor that is not being served yet. If the options or a spec
// make no sense, or two children have one name, it returns one *[SpecError] for
// each fault, joined.
func New(o SupervisorOptions) (*Supervisor, error) {
	s := newSupervisor(o)
	var errs []error
	bad := func(child string, err error) {
		errs = append(errs, &SpecError{Supervisor: s.opts.Name, Child: child, Err: err})
	}
	if o.Strategy < OneForOne || o.Strategy > RestForOne {
		bad("", fmt.Errorf("strategy is %v, want OneForOne, OneForAll or RestForOne", o.Strategy))
	}
	if o.AutoShutdown < Never || o.AutoShutdown > AllSignificant {
		bad("", fmt.Errorf("auto shutdown is %v, want Never, AnySignificant or AllSignificant", o.AutoShutdown))
	}
	for i, spec := range o.Children {
		spec = spec.withDefaults()
		if err := spec.check(o.AutoShutdown); err != nil {
			name := spec.Name
			if name == "" {
				name = fmt.Sprintf("number %d", i)
			}
			bad(name, err)
			continue
		}
		if s.byName[spec.Name] != nil {
			bad(spec.Name, errors.New("is the second child of this name"))
			continue
		}
		s.insert(newMember(s, spec, s.since), true)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	for _, m := range s.members { // not before it is certain that s is used
		m.attach()
	}
	return s, nil
}

func newSupervisor(o SupervisorOptions) *Supervisor {
	if o.Name == "" {
		o.Name = "supervisor"
	}
	n := len(o.Children)
	o.Children = nil
	return &Supervisor{
		opts:    o,
		limit:   o.Intensity.withDefaults(),
		members: make([]*member, 0, n),
		kept:    make([]*member, 0, n),
		byName:  make(map[string]*member, n),
		since:   time.Now(),
	}
}

// String returns the name.
func (s *Supervisor) String() string { return s.opts.Name }

// Subscribe returns a queue of at most n events, at least one, which takes the
// events of all children from now on, and of those of supervisors inside.
func (s *Supervisor) Subscribe(n int) *Subscription { return s.hub.subscribe(n) }

// Serve starts the children in order, keeps them running until ctx ends, and
// stops them in reverse order. When it returns they have stopped, except for
// those that [Supervisor.Abandoned] names. It returns
//
//   - ctx.Err() after ctx has ended;
//   - a *[StartError] if a child ended before it was ready, and that was its
//     first start (see [Spec].Background);
//   - an *[IntensityError] after too many restarts;
//   - nil if [SupervisorOptions].AutoShutdown wanted it to end;
//   - an error that wraps [ErrTerminateTree] if a child returned such an error;
//   - one that wraps [ErrAlreadyServed] if another Serve is going on.
//
// It may be called again after it has returned. All children that it holds are
// then started anew, those that had ended or been terminated too.
func (s *Supervisor) Serve(ctx context.Context) error {
	return s.ServeReady(ctx, func() {})
}

// ServeReady is Serve, and calls ready when all children have been ready. If
// ready panics, the children are stopped, and a *[PanicError] comes back.
func (s *Supervisor) ServeReady(ctx context.Context, ready func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.begin(ctx) {
		return fmt.Errorf("serve %s: %w: %w", s, ErrAlreadyServed, ErrDoNotRestart)
	}
	select {
	case <-s.up:
		if err := contain(ready); err != nil {
			s.stop(fmt.Errorf("tell that %s is ready: %w", s, err))
		}
	case <-s.ending:
	case <-ctx.Done():
	}
	select {
	case <-s.ending:
	case <-ctx.Done():
		s.stop(ctx.Err())
	}
	<-s.stopped
	return s.end()
}

// contain calls f and turns a panic into an error.
func contain(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = newPanicError(p)
		}
	}()
	f()
	return nil
}

// begin opens a Serve, and reports whether it is the only one.
func (s *Supervisor) begin(ctx context.Context) bool {
	s.mu.Lock()
	defer s.unlock()
	if s.phase != phaseIdle {
		return false
	}
	now := time.Now()
	// Of ctx only the values: children end one after the other, and not all
	// when ctx does.
	s.base = context.WithoutCancel(ctx)
	s.up, s.ending, s.stopped = make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.cause, s.failures, s.quiet = nil, nil, false
	s.gateLow = 0
	s.enter(phaseStarting, now)
	for _, m := range s.members {
		m.renew(now)
	}
	s.advance(now)
	return true
}

// stop makes the Serve end with cause, unless it does already.
func (s *Supervisor) stop(cause error) {
	s.mu.Lock()
	defer s.unlock()
	now := time.Now()
	s.shutdown(cause, now)
	s.advance(now)
}

// end closes a Serve and returns what it returns.
func (s *Supervisor) end() error {
	s.mu.Lock()
	defer s.unlock()
	s.enter(phaseIdle, time.Now())
	for _, m := range s.members {
		if !m.keep || m.trial == addTrial {
			m.detach()
		}
	}
	s.kept = slices.DeleteFunc(s.kept, func(m *member) bool { return m.trial == addTrial })
	s.members = slices.Clone(s.kept)
	clear(s.byName)
	for i, m := range s.members {
		m.pos = i
		s.byName[m.spec.Name] = m
	}
	s.base = nil
	return s.cause
}

// unlock delivers the events of the step and releases mu. Only then it does what
// the step has decided: it cancels runs and starts others. Doing that before
// would wake goroutines that want mu.
func (s *Supervisor) unlock() {
	for i := range s.events {
		s.hub.deliver(&s.events[i])
	}
	var few [2][2]*run
	cancels := append(few[0][:0], s.cancels...)
	starts := append(few[1][:0], s.starts...)
	s.events, s.cancels, s.starts = empty(s.events), empty(s.cancels), empty(s.starts)
	for _, r := range starts {
		r.ctx, r.cancel = context.WithCancel(s.base)
	}
	s.mu.Unlock()
	for _, r := range cancels {
		r.cancel()
	}
	for _, r := range starts {
		go r.serve()
	}
}

// empty returns list with nothing in it, for the next time if it is not large.
func empty[T any](list []T) []T {
	if cap(list) > 64 {
		return nil
	}
	clear(list)
	return list[:0]
}

// The rest of this file is called with mu held.

func (s *Supervisor) enter(p phase, now time.Time) { s.phase, s.since = p, now }

// insert puts m behind the others.
func (s *Supervisor) insert(m *member, keep bool) {
	m.keep, m.pos = keep, len(s.members)
	s.members = append(s.members, m)
	s.byName[m.spec.Name] = m
	if keep {
		s.kept = append(s.kept, m)
	}
}

// drop takes m out. A run of it may still be going on, abandoned.
func (s *Supervisor) drop(m *member) {
	last := len(s.members) - 1
	if s.pool { // no order to be kept
		s.members[m.pos] = s.members[last]
		s.members[m.pos].pos = m.pos
		s.members[last] = nil
		s.members = s.members[:last]
	} else {
		s.members = slices.Delete(s.members, m.pos, m.pos+1)
		for _, m := range s.members[m.pos:] {
			m.pos--
		}
		if m.pos < s.gateLow {
			s.gateLow--
		}
		if m.pos <= s.haltTop {
			s.haltTop--
		}
	}
	delete(s.byName, m.spec.Name)
	if !m.keep {
		m.detach()
	}
}
