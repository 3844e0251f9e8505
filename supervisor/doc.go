// Package supervisor keeps services running: it starts them again when they
// fail, after delays that grow, and gives up when there is no point in it.
//
//	sup, err := supervisor.New(supervisor.SupervisorOptions{
//		Strategy: supervisor.RestForOne,
//		Children: []supervisor.Spec{{Service: store}, {Service: api}},
//	})
//	err = sup.Serve(ctx) // until ctx ends
//
// # Supervision in one page
//
// A [Service] is anything with a Serve(ctx) error method that runs until ctx
// ends. It does not defend itself against everything that can go wrong: it
// fails, by returning an error or by a panic, and whoever supervises it puts it
// back into a state that is known to work, by starting it again. This is
// Erlang's idea, and the words are those of OTP's supervisor(3).
//
// A [Supervisor] holds named children in an order. It starts them one after the
// other, each when the one before is ready ([ReadyService]), and stops them in
// exactly the reverse order, each with its own time ([Spec].Shutdown). With
// [RestForOne] one child can rely on those before it for as long as it runs, but
// for what is added or started again by hand.
//
// When a child ends, its [Restart] type says whether that is a reason to start it
// again: permanent always, transient unless the end was normal, temporary never.
// The [Strategy] says who is started with it: nobody ([OneForOne]), everybody
// ([OneForAll]), or those after it ([RestForOne]). [Backoff] says how long to
// wait before that.
//
// Some trouble does not go away by a restart. [Intensity] limits how many there
// may be in a period, of all children together. Past the limit the supervisor
// stops its children and fails itself, with an [*IntensityError], and the
// supervisor above decides what to do: start this whole part of the tree anew,
// or give up as well. Put what can fail into the leaves, and what must not near
// the root.
//
//	         start                 ready
//	waiting ------> starting ----------------> ready
//	 ^   ^            |   |                    |   |
//	 |   |       ends |   | told to stop       |   | ends
//	 |   | delay      v   +--------+  +--------+   v
//	 |   +--------- backoff <------|--|------------+---> ended, gave-up
//	 |                             v  v
//	 +--- to start again <------ stopping --> idle
//	                               | time is over
//	                               v
//	                            abandoned --> idle, or waiting, when it ends
//
// # Parts
//
// A [Supervisor] is for parts that have names; a [Pool] for any number of like
// children that come and go. A [Restarter] wraps one service with a policy, for
// where there is no tree; one that gives up ends, whatever the supervisor around
// it. A [Tree] is a suture supervisor that holds Restarters: prefer a Supervisor,
// unless suture itself is wanted. Each is a Service, so that they nest. The
// interface has the shape of suture's, so the services of one package work in the
// other, and Serve methods fit oklog/run:
//
//	ctx, cancel := context.WithCancel(context.Background())
//	g.Add(func() error { return sup.Serve(ctx) }, func(error) { cancel() })
//
// # Administration
//
// [Supervisor.Add], [Supervisor.Terminate], [Supervisor.Restart] and
// [Supervisor.Delete] work at any time, from any goroutine, while other children
// hang in their start, their stop, or a loop of restarts. They answer as OTP
// does, for instance with [ErrAlreadyStarted]. A stop wins against a restart that
// is due.
//
// # Failures
//
// A run fails by returning, or by a panic or runtime.Goexit. A panic becomes a
// [*PanicError] with the stack, and never leaves the package. Serve tells the
// reason of its own end:
//
//	errors.As(err, &gaveUp)         // a Restarter: *GaveUpError, too many restarts
//	errors.As(err, &intensity)      // a Supervisor: *IntensityError, too many restarts
//	errors.As(err, &start)          // a Supervisor: *StartError, a child did not start
//	errors.Is(err, ErrDoNotRestart) // it is over: gave up, or ended as it should
//	errors.Is(err, ErrTerminateTree) // a service wants everything around it to stop
//	errors.Is(err, context.Canceled) // it was stopped
//
// Ask in this order, as these errors wrap the service's last error.
//
// An error can say that the service was not to blame, by a method Host() bool
// that returns true: the host ran out of descriptors or memory, say. The
// service is then tried again after delays of their own, which neither count
// for [Intensity] nor in [Trouble].Consecutive.
//
// A goroutine cannot be killed. One that does not end in its time is abandoned:
// reported ([EventAbandoned]), counted, named by [Supervisor.Abandoned], and never
// run a second time beside itself, unless [Spec].AllowAbandoned asks for it.
//
// # Ready and stable
//
// A service that implements [ReadyService] says when it is up. It is stable when
// it was ready for Backoff.ResetAfter in one go; from then on its earlier
// failures no longer count for the delay. All periods are measured on the
// monotonic clock, so that setting the time does not matter. Nothing wakes up
// to measure them: a service that runs has no timer.
//
// # Seeing
//
// [Supervisor.Status] shows each child, with what is inside it, and prints as a
// tree; it never waits for a child. [Supervisor.Subscribe] shows each change. A
// reader who is slow loses events, which are counted, and slows nobody down; it
// may call any method.
//
// # Coming from OTP
//
//	supervisor:init/1 flags      SupervisorOptions; intensity 0 is Intensity{MaxRestarts: -1}
//	the default intensity 1, 5   Intensity{MaxRestarts: 1, Within: 5 * time.Second}; ours is: never give up
//	no delay before a restart    Backoff{InitialDelay: -1}; ours is 1 s, x2, at most 30 s
//	child_spec()                 Spec
//	start function returns       the service calls ready
//	  {error, _}                 it ends before that: *StartError
//	  ignore                     it returns ErrDoNotRestart before that
//	exit reason normal           nil, or what Spec.Normal says; shutdown is nothing special
//	brutal_kill                  Brutal: 100 ms, then it is abandoned
//	simple_one_for_one           Pool
//	start_child                  Add
//	terminate_child              Terminate; a sibling's failure does not start it again,
//	                             nor one that returned ErrDoNotRestart
//	restart_child                Restart; of one in backoff it ends the delay
//	delete_child                 Delete
//	which_children, count_...    Status
//	init/1 runs at each start    all specs that were not deleted start, added ones too
//	a temporary child's spec     is forgotten if it was added, and kept if it is in Children
//
// # Coming from suture
//
//	suture.New                   New; all children that are known go into Children
//	sup.Add(svc)                 sup.Add(ctx, Spec{Service: svc}), which waits until it is ready
//	sup.Remove, RemoveAndWait    Terminate and Delete, which cannot hang the supervisor
//	nil is a failure             by the child's Restart
//	ErrDoNotRestart              the same error, with an event
//	ErrTerminateSupervisorTree   ErrTerminateTree, the same error
//	FailureThreshold, -Backoff   Backoff for each child, so that none waits for another; Intensity
//	Timeout                      Shutdown for each child; a supervisor inside is waited for
//	stops in no order            in reverse order
//	Serve once                   as often as you like, one after the other
//	EventHook                    Subscribe; the reader may call the supervisor
//	UnstoppedServiceReport       Abandoned, with those of supervisors inside
//	a suture supervisor inside   is served once; to start it again, make a new one in a ServiceFunc
//	ours inside suture           mind that nil, the end by AutoShutdown, is a failure there
package supervisor
