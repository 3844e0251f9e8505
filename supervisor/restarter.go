package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
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
	// be nil, has ended normally. It is not asked about a panic,
	// [ErrDoNotRestart] and [ErrTerminateTree]. Nil: only a nil error is normal.
	Normal func(err error) bool
	// NewBackoff takes the place of the delays that Backoff describes, while
	// Backoff.ResetAfter still counts. Each call returns a sequence of its own:
	// it is called a few times in each Serve. The Restarter never waits longer
	// or shorter than the sequence says, and gives up when it says
	// backoff.Stop, or anything else below 0.
	NewBackoff func() backoff.BackOff
}

// A Restarter keeps one [Service] running: it is a Service too, which starts
// the one inside again, by its policy, after a delay that grows. Make it with
// [NewRestarter]. Its methods may be called from any goroutine.
type Restarter struct {
	svc   Service
	ready ReadyService // svc, if it is one
	opts  Options
	hub   hub
	wake  chan struct{} // holds one token when NextTry has moved

	// mu guards what follows. Events are delivered under it, so that they come
	// in the order of the changes; no code of others is called under it.
	mu      sync.Mutex
	status  Status
	served  bool      // a Serve is going on
	readyAt time.Time // since when it is ready; zero if it is not
	backoff Backoff   // with defaults
	limit   Intensity // with defaults
	version int       // of backoff
	event   Event     // the one that is being delivered
}

// NewRestarter makes a Restarter of svc, which must not be nil, and must not be
// served by anybody else.
func NewRestarter(svc Service, o Options) *Restarter {
	if svc == nil {
		panic("supervisor: NewRestarter of a nil Service")
	}
	if o.Name == "" {
		o.Name = nameOf(svc)
	}
	r := &Restarter{
		svc:     svc,
		opts:    o,
		wake:    make(chan struct{}, 1),
		status:  Status{Name: o.Name, Since: time.Now()},
		backoff: o.Backoff.withDefaults(),
		limit:   o.Intensity.withDefaults(),
	}
	r.ready, _ = svc.(ReadyService)
	return r
}

// nameOf is the name of a service that was given none.
func nameOf(svc Service) string {
	if s, ok := svc.(fmt.Stringer); ok {
		if name := s.String(); name != "" {
			return name
		}
	}
	return fmt.Sprintf("%T", svc)
}

// String returns the name.
func (r *Restarter) String() string { return r.opts.Name }

// Status is what the Restarter knows now. It never waits for the service.
func (r *Restarter) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.status
	if st.Consecutive > 0 && r.stable(time.Now()) {
		st.Consecutive = 0
	}
	return st
}

// Subscribe returns a queue of at most n events, at least one, which takes all
// events from now on until it is closed.
func (r *Restarter) Subscribe(n int) *Subscription { return r.hub.subscribe(n) }

// SetBackoff puts b in force. If it differs from the one before, the next delay
// is its InitialDelay; a pending one goes on, but no longer than b's MaxDelay.
// With Options.NewBackoff only b's ResetAfter counts.
func (r *Restarter) SetBackoff(b Backoff) {
	b = b.withDefaults()
	r.mu.Lock()
	defer r.mu.Unlock()
	if b == r.backoff {
		return
	}
	r.backoff = b
	if r.opts.NewBackoff == nil {
		r.version++
		r.cut(r.status.Since.Add(b.longest()))
	}
}

// SetIntensity puts i in force, from the next failure on. Failures count that
// came under a limit, not those that came while there was none.
func (r *Restarter) SetIntensity(i Intensity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = i.withDefaults()
}

// RestartNow ends a pending delay: the service is started at once. In any other
// state it does nothing. The delay after the next failure is as long as it
// would have been.
func (r *Restarter) RestartNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut(time.Now())
}

// cut makes a pending delay end at the given time, if that is sooner. NextTry is
// zero while none is pending.
func (r *Restarter) cut(at time.Time) {
	if !at.Before(r.status.NextTry) {
		return
	}
	r.status.NextTry = at
	select {
	case r.wake <- struct{}{}:
	default: // a token is there already
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
// once, with all counts of failures in a row at 0. A panic in a function of
// [Options] makes it give up.
func (r *Restarter) Serve(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.begin() {
		return fmt.Errorf("serve %s: %w: %w", r, ErrAlreadyServed, ErrDoNotRestart)
	}
	l := loop{Restarter: r, exits: make(chan error, 1)}
	for first := true; ctx.Err() == nil; first = false {
		exit, asked := l.runOnce(ctx, first)
		if asked {
			break
		}
		now := time.Now()
		v := l.decide(exit, now)
		r.exited(exit, v, now)
		if v.state != StateBackoff {
			return v.err
		}
		l.wait(ctx)
	}
	r.stopped()
	return ctx.Err()
}
