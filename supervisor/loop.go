package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// A loop is what one Serve of a Restarter keeps to itself.
type loop struct {
	*Restarter
	exits    chan error // how the current run ended
	failures window
	own      backoff.BackOff // delays after the service's failures
	host     backoff.BackOff // delays after the host's
	madeOf   int             // the version of the Backoff that these were made of
}

// runOnce starts the service and returns how it ended, and whether it had been
// asked to.
func (l *loop) runOnce(ctx context.Context, first bool) (exit error, asked bool) {
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.run(runCtx, l.starting(first))
	select {
	case exit = <-l.exits:
		if ctx.Err() == nil {
			return exit, false
		}
		l.stopping()
	case <-ctx.Done():
		l.stopping()
		exit = <-l.exits
	}
	l.exitedAsked(exit)
	return exit, true
}

// run is the goroutine of one generation.
func (l *loop) run(ctx context.Context, generation uint64) {
	exit := errGoexit
	defer func() {
		if p := recover(); p != nil {
			exit = newPanicError(p)
		}
		l.exits <- exit
	}()
	if l.ready != nil {
		exit = l.ready.ServeReady(ctx, func() { l.becomeReady(generation) })
	} else {
		exit = l.svc.Serve(ctx)
	}
}

// A verdict is what follows from the end of a run: the state to go to and, in
// StateBackoff, the delay, or else the error that Serve returns.
type verdict struct {
	state       State
	delay       time.Duration
	err         error
	consecutive int
}

// decide applies the policy to a run that ended unasked. It calls code of
// others, so it must not be called with mu held.
func (l *loop) decide(exit error, now time.Time) (v verdict) {
	l.mu.Lock()
	b, version, limit := l.backoff, l.version, l.limit
	stable := l.stable(now)
	v.consecutive = l.status.Consecutive
	l.mu.Unlock()

	defer func() {
		if p := recover(); p != nil {
			v = l.giveUp(v, v.consecutive, 0, fmt.Errorf("restart policy: %w", newPanicError(p)))
		}
	}()
	if stable {
		v.consecutive = 0
	}
	if end := l.end(exit); end != nil {
		v.state, v.err = StateEnded, end
		return v
	}
	if l.own == nil || l.madeOf != version {
		l.own, l.host, l.madeOf = l.newDelays(b), l.newDelays(b), version
	} else if stable {
		l.own.Reset()
		l.host.Reset()
	}
	// The host's trouble has a sequence of delays of its own, so that it does
	// not lengthen those after the service's next failure.
	delays := l.host
	if isPanic(exit) || !isHost(exit) {
		l.host.Reset()
		delays = l.own
		v.consecutive++
		if l.failures.exceeds(limit, now) {
			return l.giveUp(v, max(limit.MaxRestarts, 0), limit.Within, exit)
		}
	}
	if v.delay = delays.NextBackOff(); v.delay < 0 {
		return l.giveUp(v, max(v.consecutive-1, 0), 0, exit)
	}
	v.state = StateBackoff
	return v
}

// end returns what Serve has to return if the service is not to be started
// again after exit, or nil.
func (l *loop) end(exit error) error {
	if !isPanic(exit) && (errors.Is(exit, ErrDoNotRestart) || errors.Is(exit, ErrTerminateTree)) {
		return exit
	}
	switch l.opts.Restart {
	case Temporary:
	case Transient:
		if isPanic(exit) || !l.normal(exit) {
			return nil
		}
	default:
		return nil
	}
	if exit == nil {
		return fmt.Errorf("%s has ended: %w", l, ErrDoNotRestart)
	}
	return fmt.Errorf("%s has ended: %w: %w", l, exit, ErrDoNotRestart)
}

// normal applies Options.Normal.
func (l *loop) normal(exit error) bool {
	if l.opts.Normal == nil {
		return exit == nil
	}
	return l.opts.Normal(exit)
}

// giveUp turns v into the verdict that there was one failure too many.
func (l *loop) giveUp(v verdict, restarts int, within time.Duration, last error) verdict {
	v.state = StateGaveUp
	v.err = &GaveUpError{Name: l.String(), Restarts: restarts, Within: within, Last: last}
	return v
}

// newDelays returns a sequence of delays at its first step.
func (l *loop) newDelays(b Backoff) backoff.BackOff {
	if l.opts.NewBackoff == nil {
		return b.delays()
	}
	return l.opts.NewBackoff()
}

// wait returns when the next start is due, or ctx has ended.
func (l *loop) wait(ctx context.Context) {
	for {
		l.mu.Lock()
		d := time.Until(l.status.NextTry)
		l.mu.Unlock()
		if d <= 0 {
			return
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// isPanic reports whether exit is a panic, as opposed to an error.
func isPanic(exit error) bool {
	_, ok := exit.(*PanicError)
	return ok
}
