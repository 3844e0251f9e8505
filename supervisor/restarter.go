package supervisor

import (
	"cmp"
	"context"
	"fmt"
)

// Options are the policy of a [Restarter]. The zero value restarts for ever,
// with the default [Backoff].
type Options struct {
	// Name is for events, errors and status. Empty: what the service's String
	// method gives, or the name of its type. Never the value itself, which may
	// hold secrets.
	Name string
	// Restart says after which kind of end the service is started again.
	Restart Restart
	// Backoff says how long to wait before that.
	Backoff Backoff
	// Intensity says when to give up.
	Intensity Intensity
	// Normal reports whether a Transient service that returned err, which may
	// be nil, has ended normally. It is called in the service's goroutine, and
	// not asked about a panic, [ErrDoNotRestart] and [ErrTerminateTree]. If it
	// panics, the service has failed. Nil: only a nil error is normal.
	Normal func(err error) bool
}

// A Restarter keeps one [Service] running: it is a Service too, which starts
// the one inside again, by its policy, after a delay that grows. It is what a
// [Supervisor] is to many children, for one, whose end is its own. Make it with
// [NewRestarter]. Its methods may be called from any goroutine.
type Restarter struct {
	sup   *Supervisor
	child *member // the only one of sup
}

// NewRestarter makes a Restarter of svc, which must not be nil, and must not be
// served by anybody else.
func NewRestarter(svc Service, o Options) *Restarter {
	if svc == nil || isNilNest(svc) {
		panic("supervisor: NewRestarter of a nil Service")
	}
	spec := Spec{
		Name: o.Name, Service: svc, Restart: o.Restart, Backoff: o.Backoff, Normal: o.Normal,
		Shutdown: Infinite,
	}.withDefaults()
	sup := newSupervisor(SupervisorOptions{Name: spec.Name, Intensity: o.Intensity})
	sup.only = svc
	r := &Restarter{sup: sup, child: newMember(sup, spec, sup.made)}
	sup.insert(r.child, true)
	r.child.attach()
	return r
}

func (r *Restarter) core() *Supervisor {
	if r == nil {
		return nil
	}
	return r.sup
}

// nameOf is the name of a service that was given none.
func nameOf(svc Service) string {
	var name string
	if s, ok := svc.(fmt.Stringer); ok {
		_ = contain(func() { name = s.String() }) // of a nil pointer, say
	}
	return cmp.Or(name, fmt.Sprintf("%T", svc))
}

// String returns the name.
func (r *Restarter) String() string { return r.sup.String() }

// Status is what the Restarter knows now. It never waits for the service.
func (r *Restarter) Status() Status {
	var c ChildStatus
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	r.sup.now()
	r.child.report(&c)
	return c.Status
}

// Subscribe returns a queue of at most n events, at least one, which takes all
// events from now on until it is closed: those of the service, and, if that is a
// supervisor, those of its children.
func (r *Restarter) Subscribe(n int) *Subscription { return r.sup.Subscribe(n) }

// SetBackoff puts b in force. If it differs from the one before, the next delay
// is its InitialDelay; a pending one goes on, but no longer than b's MaxDelay.
func (r *Restarter) SetBackoff(b Backoff) {
	r.sup.mu.Lock()
	defer r.sup.unlock()
	r.child.setBackoff(b.withDefaults(), r.sup.now())
}

// SetIntensity puts i in force, from the next failure on. Failures count that
// came under a limit, not those that came while there was none.
func (r *Restarter) SetIntensity(i Intensity) { r.sup.SetIntensity(i) }

// RestartNow ends a pending delay: the service is started at once. In any other
// state it does nothing. The delay after the next failure is as long as it
// would have been.
func (r *Restarter) RestartNow() {
	r.sup.mu.Lock()
	defer r.sup.unlock()
	if r.child.state == StateBackoff {
		now := r.sup.now()
		r.child.due(now)
		r.sup.advance(now)
	}
}

// Serve runs the service, again and again, until ctx ends or the policy says
// that it is over, and returns when the service has stopped. The error is
// never nil:
//
//   - ctx.Err() after ctx has ended, however the service then ended;
//   - a *[GaveUpError] after too many restarts;
//   - what the service returned, if that is [ErrDoNotRestart] or [ErrTerminateTree];
//   - otherwise an error that wraps ErrDoNotRestart and what the service
//     returned, if it was not nil: a transient service has ended normally, or a
//     temporary one has ended;
//   - [ErrAlreadyServed] if another Serve is going on.
//
// It may be called again after it has returned, and then starts the service at
// once, with all counts of failures in a row at 0.
func (r *Restarter) Serve(ctx context.Context) error { return r.sup.Serve(ctx) }

// ServeReady is Serve, and calls ready, which must return at once, when the
// service is ready for the first time, after however many starts.
func (r *Restarter) ServeReady(ctx context.Context, ready func()) error {
	return r.sup.ServeReady(ctx, ready)
}
