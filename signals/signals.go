// Package signals routes the operating system's signals to handlers: from the line on which the router is built, one at
// a time, in order, and without losing any.
//
//	router := signals.Listen(signals.Routes{
//		syscall.SIGHUP:  reload,
//		syscall.SIGTERM: stop,
//		syscall.SIGPIPE: nil, // caught and ignored
//	})
//	defer router.Close()
//	return router.Serve(ctx)
//
// # Three lives
//
// Catching and handling are two things. A signal is caught, and does not end the process, from [Listen] to
// [Router.Close]. It is handled while [Router.Serve] runs. What comes before, between two calls of Serve, or while a
// handler runs, waits.
//
//	Listen            Serve        Serve returns      Serve         Close
//	  |                 |                |              |             |
//	  |---- caught -----+---- caught ----+--- caught ---+-- caught ---|
//	  |     waits       |    handled     |    waits     |   handled   |   default action
//
// So a daemon that builds its router in its first line cannot be killed by a SIGHUP that comes too early, and a second
// SIGTERM while it winds down does not kill it half-way: it waits for whoever calls Serve again, or is forgotten in
// Close.
//
// # What a burst becomes
//
// A signal that is already waiting is not queued a second time, as in the kernel: a hundred SIGHUP make one call or a
// few, and at least one of them begins after the last one was caught. Different signals never displace each other,
// however many come. (A channel given to [signal.Notify] drops what does not fit.)
//
// Order is that of arrival. Signals that come closer together than the process can see are taken by ascending number,
// which is what the kernel and the Go runtime do with them.
//
// The package works on Unix systems and on Windows, there for the signals that [os/signal] makes up.
package signals

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Handler is called for a signal. While it runs, other signals wait; one that takes long should watch ctx, which is the
// one given to Serve. An error ends Serve; to go on, deal with it and return nil. A panic is not recovered.
type Handler func(ctx context.Context, sig os.Signal) error

// Routes tells which signals are caught, and who handles them. With a nil Handler a signal is caught and ignored.
type Routes map[os.Signal]Handler

// ErrClosed is returned by [Router.Serve] when the router is closed.
var ErrClosed = errors.New("signal router is closed")

var errServing = errors.New("signal router is already being served: call Serve again after it has returned")

// Router catches signals and hands them to their handlers. [Listen] makes it.
type Router struct {
	routes  Routes
	intake  *intake
	serving atomic.Bool
	closing sync.Once
	closed  chan struct{}
}

// Listen catches the signals in routes from now on. The routes are copied; empty ones catch nothing. A program that was
// started with SIGHUP or SIGINT ignored (nohup(1)) gets them from now on too. SIGKILL and SIGSTOP cannot be caught on
// any system, and their routes are never taken.
//
// The router needs [Router.Close] when it is not used any more.
func Listen(routes Routes) *Router {
	return listen(routes, signal.Notify, signal.Stop)
}

func listen(routes Routes, notify func(chan<- os.Signal, ...os.Signal), stop func(chan<- os.Signal)) *Router {
	routes = maps.Clone(routes)
	return &Router{
		routes: routes,
		intake: startIntake(sorted(routes), notify, stop),
		closed: make(chan struct{}),
	}
}

// Serve calls the handlers, one at a time, for the signals that have waited and for those that come. It returns when
//
//   - a handler returns an error, with that error wrapped and the signal named;
//   - ctx has ended, with ctx.Err(), once the handler that runs has returned nil;
//   - the router is closed, with [ErrClosed], likewise.
//
// Signals are still caught after that, and wait. Serve may be called again, but not while it runs, which is an error. A
// handler may not call Serve, but it may call Close.
func (r *Router) Serve(ctx context.Context) error {
	if !r.serving.CompareAndSwap(false, true) {
		return errServing
	}
	defer r.serving.Store(false)
	for {
		if err := r.ended(ctx); err != nil {
			return err
		}
		sig, ok := r.intake.next()
		if !ok {
			select {
			case <-r.intake.wake:
			case <-r.closed:
			case <-ctx.Done():
			}
			continue
		}
		handle := r.routes[sig]
		if handle == nil {
			continue
		}
		if err := handle(ctx, sig); err != nil {
			return fmt.Errorf("handle %s: %w", Name(sig), err)
		}
	}
}

// ended returns why no further handler may be called, or nil.
func (r *Router) ended(ctx context.Context) error {
	select {
	case <-r.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// Close gives the signals back: when it returns, they have their default action again, unless somebody else in this
// process has asked for them too. Those that still wait are forgotten. A Serve that runs returns after the handler that
// it is in; Close does not wait for that. It always returns nil, and closing again does nothing.
//
// A signal that comes a moment later acts on the process, so a program that ends calls Close last or not at all.
func (r *Router) Close() error {
	r.closing.Do(func() {
		r.intake.stop()
		close(r.closed)
	})
	return nil
}

// Actor returns what run.Group.Add of github.com/oklog/run takes. Execute serves until interrupt is called, if it was
// not before. Neither gives the signals back: that is up to Close, after the whole group has ended.
func (r *Router) Actor() (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	return func() error {
			defer cancel()
			return r.Serve(ctx)
		}, func(error) {
			cancel()
		}
}

// String names the signals that are caught: "signals(SIGHUP SIGTERM)".
func (r *Router) String() string {
	var names []string
	for _, sig := range sorted(r.routes) {
		names = append(names, Name(sig))
	}
	return "signals(" + strings.Join(names, " ") + ")"
}

// sorted returns the signals of routes by ascending number.
func sorted(routes Routes) []os.Signal {
	return slices.SortedFunc(maps.Keys(routes), func(a, b os.Signal) int { return number(a) - number(b) })
}
