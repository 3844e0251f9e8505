// Package supervisor keeps services running: it starts them again when they
// fail, after delays that grow, and gives up when there is no point in it.
//
//	r := supervisor.NewRestarter(poller, supervisor.Options{Name: "poller"})
//	err := r.Serve(ctx) // until ctx ends
//
// # Parts
//
// A [Service] is anything with a Serve(ctx) error method that runs until ctx
// ends. A [Restarter] wraps one service with a policy: when to start it again
// ([Restart]), how long to wait before that ([Backoff]), and when to give up
// ([Intensity]). It is a service itself. A [Tree] runs many of them side by
// side, starts and removes them while it is served, and is a service too.
//
// The interface has the shape of suture's, so the services of one package work
// in the other, and Serve methods fit oklog/run:
//
//	ctx, cancel := context.WithCancel(context.Background())
//	g.Add(func() error { return tree.Serve(ctx) }, func(error) { cancel() })
//
// # Failures
//
// A run fails by returning, or by a panic or runtime.Goexit. A panic becomes a
// [*PanicError] with the stack, and never leaves the Restarter. Serve of a
// Restarter tells the reason of its own end:
//
//	errors.As(err, &gaveUp)       // a *GaveUpError: too many restarts
//	errors.Is(err, ErrDoNotRestart) // it is over: gave up, or ended as it should
//	errors.Is(err, ErrTerminateTree) // a service wants everything around it to stop
//	errors.Is(err, context.Canceled) // it was stopped
//
// Ask in this order, as a *GaveUpError wraps the service's last error.
//
// An error can say that the service was not to blame, by a method Host() bool
// that returns true: the host ran out of descriptors or memory, say. The
// service is then tried again after delays of their own, which neither count
// for [Intensity] nor in [Status].Consecutive.
//
// # Ready and stable
//
// A service that implements [ReadyService] says when it is up. It is stable when
// it was ready for Backoff.ResetAfter in one go; from then on its earlier
// failures no longer count for the delay. All periods are measured on the
// monotonic clock, so that setting the time does not matter. Nothing wakes up
// to measure them: a Restarter whose service runs has no timer.
//
// # Seeing
//
// [Restarter.Status] and [Restarter.Subscribe] show each state and each change
// of it; a [Tree] hands on what happens in all of its services. A reader who is
// slow loses events, which are counted, and slows nobody down.
package supervisor
