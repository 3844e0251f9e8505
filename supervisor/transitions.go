package supervisor

import "time"

// The steps of the state machine. Each takes mu, changes the status, and tells
// the event, in one go. Only the goroutine of Serve takes them, except for
// becomeReady.

// begin opens a Serve, and reports whether it is the only one.
func (r *Restarter) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served {
		return false
	}
	r.served = true
	r.status.Consecutive = 0
	return true
}

// starting opens the next generation and returns its number.
func (r *Restarter) starting(first bool) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.status.Generation++
	r.status.NextTry = time.Time{}
	r.enter(StateStarting, now)
	kind := EventStarting
	if !first {
		kind = EventRestarted
		r.status.Restarts++
	}
	r.tell(Event{Kind: kind, Time: now})
	if r.ready == nil {
		r.setReady(now)
	}
	return r.status.Generation
}

// becomeReady is the ready function of one generation. The service may call it
// from anywhere, at any time, and so too late.
func (r *Restarter) becomeReady(generation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status.Generation == generation && r.status.State == StateStarting {
		r.setReady(time.Now())
	}
}

func (r *Restarter) setReady(now time.Time) {
	r.readyAt = now
	r.enter(StateReady, now)
	r.tell(Event{Kind: EventReady, Time: now})
}

// stopping says that the service was told to stop.
func (r *Restarter) stopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.enter(StateStopping, now)
	r.tell(Event{Kind: EventStopping, Time: now})
}

// exitedAsked ends a run that ended after ctx.
func (r *Restarter) exitedAsked(exit error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.stable(now) {
		r.status.Consecutive = 0
	}
	r.endRun(exit, now)
}

// exited ends a run that ended unasked at now, and goes on as v says.
func (r *Restarter) exited(exit error, v verdict, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.LastError, r.status.LastExit = exit, now
	r.status.Consecutive = v.consecutive
	r.enter(v.state, now)
	r.endRun(exit, now)
	switch v.state {
	case StateBackoff:
		if r.opts.NewBackoff == nil { // by the Backoff that is in force now
			v.delay = min(v.delay, r.backoff.longest())
		}
		r.status.NextTry = now.Add(v.delay)
		r.tell(Event{Kind: EventBackingOff, Time: now, Delay: v.delay, Err: exit})
	case StateGaveUp:
		r.served = false
		r.tell(Event{Kind: EventGaveUp, Time: now, Err: v.err})
	default:
		r.served = false
		r.tell(Event{Kind: EventEnded, Time: now, Err: v.err})
	}
}

// stopped ends a Serve whose ctx has ended.
func (r *Restarter) stopped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.served = false
	r.status.NextTry = time.Time{}
	r.enter(StateIdle, now)
	r.tell(Event{Kind: EventStopped, Time: now})
}

// The rest is called with mu held.

// stable reports whether the current run has been ready for long enough to
// forgive the failures before it.
func (r *Restarter) stable(now time.Time) bool {
	after := r.backoff.ResetAfter
	return after > 0 && !r.readyAt.IsZero() && now.Sub(r.readyAt) >= after
}

func (r *Restarter) enter(s State, now time.Time) {
	r.status.State, r.status.Since = s, now
}

// endRun tells how the service ended.
func (r *Restarter) endRun(exit error, now time.Time) {
	r.readyAt = time.Time{}
	kind := EventExited
	if isPanic(exit) {
		kind = EventPanicked
	}
	r.tell(Event{Kind: kind, Time: now, Err: exit})
}

// tell completes e and hands it on.
func (r *Restarter) tell(e Event) {
	e.Name, e.State, e.Generation = r.status.Name, r.status.State, r.status.Generation
	r.event = e // a field, so that the pointer costs no allocation
	r.hub.deliver(&r.event)
}
