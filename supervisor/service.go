package supervisor

import "context"

// A Service is something that runs until it is told to stop.
//
// Serve does its work in the goroutine that it is called in, and returns when
// that work is over, for whatever reason; when ctx ends it stops as soon as it
// can. "Stopped" means that nothing of this call goes on: whatever it started,
// it has waited for. Serve may be called again after it has returned, and must
// then not trip over what the last call left behind; it is never called while
// another call is still running.
//
// What Serve returns decides what comes next (see [Restart]), except for two
// errors that count under every policy, wrapped or not: [ErrDoNotRestart] asks
// never to be started again, [ErrTerminateTree] asks for the end of the whole
// tree. A panic is a failure. The context's error is nothing special: returned
// while ctx has not ended, it comes from some other context and is a failure.
//
// The interface has the shape of suture's Service, so each fits the other. A
// service should have a String method too: it gives the name in events and
// status.
type Service interface {
	Serve(ctx context.Context) error
}

// A ReadyService is a [Service] that can tell when it is up.
//
// ServeReady is called in place of Serve. It calls ready once, from any
// goroutine, when it can do what it is for; ready returns at once, and further
// calls, or a call after ServeReady has returned, do nothing. Until then the
// service is starting, and only from then on does it count as stable.
//
// A service without this method is taken to be ready as soon as it is started.
type ReadyService interface {
	Service
	ServeReady(ctx context.Context, ready func()) error
}

// A ServiceFunc is a function that is a [Service].
type ServiceFunc func(ctx context.Context) error

// Serve calls f.
func (f ServiceFunc) Serve(ctx context.Context) error { return f(ctx) }
