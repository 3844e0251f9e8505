package supervisor

import (
	"cmp"
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
	made time.Time
	only Service // not nil in a Restarter: its only child, whose end is its own

	// mu guards what follows, and all of every member. There is no owner loop:
	// whoever brings news (a run that ended, a timer, an administrator) takes
	// mu, makes the step, and goes. No code of others is called under it, and
	// nothing waits. Below it only locks of hubs are taken.
	mu      sync.Mutex
	limit   Intensity
	at      time.Duration // of the step that is being made, since made
	latest  *policy       // of the member that was made last
	members []*member     // in the order of their start
	byName  map[string]*member
	loose   map[*run]uint64 // abandoned runs and their generations
	since   time.Time       // of phase
	number  int             // of the latest pool child
	events  []Event         // to be delivered by unlock
	closes  []chan struct{} // to be closed by unlock, when its events are out
	cancels []*run          // to be cancelled by unlock
	starts  []*run          // to be started by unlock

	phase    phase
	serving  *serving // nil if there is none
	failures window   // of this Serve
	restarts int      // in this and all earlier Serves
	running  int      // runs that are not abandoned
	halts    int      // members whose halt is set
	haltTop  int      // no member after this one has halt set
	backoffs int      // members in StateBackoff
	gateLow  int      // no member before this one has gated set
}

// A serving is one call of Serve.
type serving struct {
	ctx     context.Context // that it was called with
	values  context.Context // ctx, but for its end
	cause   error           // why it ends; guarded by Supervisor.mu until stopped is closed
	up      chan struct{}   // closed when all children are ready
	ending  chan struct{}   // closed when phase turns to phaseStopping
	stopped chan struct{}   // closed when nothing runs any more
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
	bad := func(child string, faults ...error) {
		errs = append(errs, specErrors(s.opts.Name, child, faults))
	}
	if o.Strategy < OneForOne || o.Strategy > RestForOne {
		bad("", fmt.Errorf("strategy is %v, want OneForOne, OneForAll or RestForOne", o.Strategy))
	}
	if o.AutoShutdown < Never || o.AutoShutdown > AllSignificant {
		bad("", fmt.Errorf("auto shutdown is %v, want Never, AnySignificant or AllSignificant", o.AutoShutdown))
	}
	for i, spec := range o.Children {
		spec = spec.withDefaults()
		if faults := spec.check(o.AutoShutdown); faults != nil {
			bad(cmp.Or(spec.Name, fmt.Sprintf("number %d", i)), faults...)
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
	now := time.Now()
	return &Supervisor{
		opts:    o,
		made:    now,
		limit:   o.Intensity.withDefaults(),
		members: make([]*member, 0, n),
		byName:  make(map[string]*member, n),
		since:   now,
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
//   - nil if [SupervisorOptions].AutoShutdown wanted it to end, which suture
//     takes for a failure;
//   - an error that wraps [ErrTerminateTree] if a child returned such an error;
//   - one that wraps [ErrAlreadyServed] if another Serve is going on.
//
// It may be called again after it has returned. All children that it holds are
// then started anew, those that had ended or been terminated too.
func (s *Supervisor) Serve(ctx context.Context) error {
	return s.ServeReady(ctx, func() {})
}

// ServeReady is Serve, and calls ready, which must return at once, when all
// children have been ready. If ready panics, the children are stopped, and a
// *[PanicError] comes back.
func (s *Supervisor) ServeReady(ctx context.Context, ready func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sv := s.begin(ctx)
	if sv == nil {
		return fmt.Errorf("serve %s: %w: %w", s, ErrAlreadyServed, ErrDoNotRestart)
	}
	returned := false
	defer func() {
		if !returned { // ready has called runtime.Goexit
			s.stop(errGoexit)
			<-sv.stopped
		}
	}()
	select {
	case <-sv.up:
		if err := contain(ready); err != nil {
			s.stop(fmt.Errorf("tell that %s is ready: %w", s, err))
		}
	case <-sv.ending:
	case <-ctx.Done():
	}
	select {
	case <-sv.ending:
	case <-ctx.Done():
		s.stop(ctx.Err())
	}
	<-sv.stopped
	returned = true
	return sv.cause
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

// begin opens a Serve, or returns nil if there is one.
func (s *Supervisor) begin(ctx context.Context) *serving {
	s.mu.Lock()
	defer s.unlock()
	if s.phase != phaseIdle {
		return nil
	}
	now := s.now()
	sv := &serving{
		ctx: ctx, values: context.WithoutCancel(ctx),
		up: make(chan struct{}), ending: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.serving, s.failures, s.gateLow = sv, nil, 0
	s.enter(phaseStarting, now)
	for _, m := range s.members {
		m.renew(now)
	}
	s.advance(now)
	return sv
}

// stop makes the Serve end with cause, unless it does already.
func (s *Supervisor) stop(cause error) {
	s.mu.Lock()
	defer s.unlock()
	now := s.now()
	s.shutdown(cause, now)
	s.advance(now)
}

// unlock delivers the events of the step, then wakes who waits in Serve, so that
// the events of a supervisor around this one come after, and releases mu. Only
// then it does what the step has decided: it cancels runs and starts others.
// Doing that before would wake goroutines that want mu.
func (s *Supervisor) unlock() {
	for i := range s.events {
		s.hub.deliver(&s.events[i])
	}
	for _, c := range s.closes {
		close(c)
	}
	var few [2][2]*run
	cancels := append(few[0][:0], s.cancels...)
	starts := append(few[1][:0], s.starts...)
	s.events, s.closes, s.cancels, s.starts = empty(s.events), empty(s.closes), empty(s.cancels), empty(s.starts)
	s.mu.Unlock()
	for _, r := range cancels {
		r.ctx.cancel()
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

// now begins a step. It is called near the bottom of a stack: the arithmetic takes
// so much of one that further up it would make that of a new run grow, which takes
// longer than all else that a restart does.
func (s *Supervisor) now() time.Time {
	now := time.Now()
	s.at = now.Sub(s.made)
	return now
}

func (s *Supervisor) enter(p phase, now time.Time) { s.phase, s.since = p, now }

// end closes a Serve, in the step that ends its last run, so that whoever hears
// of that can serve again at once. Only those members stay that the next Serve
// starts.
func (s *Supervisor) end(now time.Time) {
	s.closes = append(s.closes, s.serving.stopped)
	s.serving = nil
	s.enter(phaseIdle, now)
	s.members = slices.DeleteFunc(s.members, func(m *member) bool {
		gone := !m.keep || m.trial == addTrial
		if gone {
			delete(s.byName, m.name)
			m.detach()
			m.tell(EventDeleted, now, nil)
		}
		return gone
	})
	for i, m := range s.members {
		m.pos = int32(i)
	}
}

// insert puts m behind the others.
func (s *Supervisor) insert(m *member, keep bool) {
	m.keep, m.pos = keep, int32(len(s.members))
	s.members = append(s.members, m)
	s.byName[m.name] = m
}

// drop takes m out. A run of it may still be going on, abandoned.
func (s *Supervisor) drop(m *member, now time.Time) {
	last := len(s.members) - 1
	if s.pool { // no order to be kept
		s.members[m.pos] = s.members[last]
		s.members[m.pos].pos = m.pos
		s.members[last] = nil
		s.members = s.members[:last]
	} else {
		pos := int(m.pos)
		s.members = slices.Delete(s.members, pos, pos+1)
		for _, m := range s.members[pos:] {
			m.pos--
		}
		if pos < s.gateLow {
			s.gateLow--
		}
		if pos <= s.haltTop {
			s.haltTop--
		}
	}
	delete(s.byName, m.name)
	m.detach()
	m.tell(EventDeleted, now, nil)
}
