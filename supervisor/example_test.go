package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/run"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// Keep a service running, and wait a little longer after each failure.
func ExampleRestarter() {
	ctx, cancel := context.WithCancel(context.Background())
	tries := 0
	poller := supervisor.ServiceFunc(func(ctx context.Context) error {
		tries++
		fmt.Println("try", tries)
		if tries < 3 {
			return errors.New("connection refused")
		}
		cancel() // enough for an example
		<-ctx.Done()
		return ctx.Err()
	})
	r := supervisor.NewRestarter(poller, supervisor.Options{
		Name:    "poller",
		Backoff: supervisor.Backoff{InitialDelay: time.Millisecond},
	})
	err := r.Serve(ctx)
	fmt.Println(err)
	fmt.Println(r.Status().Restarts, "restarts, last error:", r.Status().Trouble.LastError)
	// Output:
	// try 1
	// try 2
	// try 3
	// context canceled
	// 2 restarts, last error: connection refused
}

// Three failures within a minute are too many.
func ExampleRestarter_givesUp() {
	broken := supervisor.ServiceFunc(func(context.Context) error {
		return errors.New("no such table")
	})
	r := supervisor.NewRestarter(broken, supervisor.Options{
		Name:      "importer",
		Backoff:   supervisor.Backoff{InitialDelay: time.Millisecond},
		Intensity: supervisor.Intensity{MaxRestarts: 2, Within: time.Minute},
	})
	err := r.Serve(context.Background())
	var gaveUp *supervisor.GaveUpError
	if errors.As(err, &gaveUp) {
		fmt.Println(gaveUp)
		fmt.Println(r.Status().State)
	}
	// Output:
	// importer gave up after 2 restarts within 1m0s: no such table
	// gave-up
}

// Follow what happens to a service, here one that runs until it is done.
func ExampleRestarter_Subscribe() {
	results := []error{errors.New("server busy"), nil}
	job := supervisor.ServiceFunc(func(context.Context) error {
		err := results[0]
		results = results[1:]
		return err
	})
	r := supervisor.NewRestarter(job, supervisor.Options{
		Name:    "upload",
		Restart: supervisor.Transient, // nil is a normal end
		Backoff: supervisor.Backoff{InitialDelay: time.Millisecond},
	})
	events := r.Subscribe(16)
	err := r.Serve(context.Background())
	events.Close()
	for e := range events.Events() {
		fmt.Println(e)
	}
	fmt.Println(errors.Is(err, supervisor.ErrDoNotRestart))
	// Output:
	// upload: starting
	// upload: ready
	// upload: exited: server busy
	// upload: backing-off 1ms: server busy
	// upload: restarted
	// upload: ready
	// upload: exited
	// upload: ended: upload has ended: service should not be restarted
	// true
}

// A service that can tell when it is up.
type listener struct{}

func (listener) Serve(ctx context.Context) error {
	return listener{}.ServeReady(ctx, func() {})
}

func (listener) ServeReady(ctx context.Context, ready func()) error {
	// Open the socket here, and only then:
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func ExampleReadyService() {
	ctx, cancel := context.WithCancel(context.Background())
	r := supervisor.NewRestarter(listener{}, supervisor.Options{Name: "http"})
	events := r.Subscribe(16)
	tree := supervisor.NewTree("root", supervisor.TreeOptions{})
	tree.Add(r)
	done := tree.ServeBackground(ctx)
	for e := range events.Events() {
		fmt.Println(e)
		if e.Kind == supervisor.EventReady {
			break
		}
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// http: starting
	// http: ready
	// context canceled
}

// A tree is one actor of an oklog/run group.
func ExampleTree_run() {
	tree := supervisor.NewTree("root", supervisor.TreeOptions{StopTimeout: 5 * time.Second})
	tree.Add(supervisor.NewRestarter(listener{}, supervisor.Options{Name: "http"}))

	var g run.Group
	ctx, cancel := context.WithCancel(context.Background())
	g.Add(func() error { return tree.Serve(ctx) }, func(error) { cancel() })
	g.Add(func() error { return errors.New("told to stop") }, func(error) {})
	fmt.Println(g.Run())
	fmt.Println("left over:", tree.Unstopped())
	// Output:
	// told to stop
	// left over: []
}

// Under a plain suture supervisor each Restarter keeps its own delays, so that
// one that fails does not make the others wait.
func ExampleRestarter_suture() {
	ctx, cancel := context.WithCancel(context.Background())
	sup := suture.NewSimple("root")
	tries := 0
	sup.Add(supervisor.NewRestarter(supervisor.ServiceFunc(func(context.Context) error {
		tries++
		if tries == 20 { // suture by itself would pause after five
			cancel()
		}
		return errors.New("not yet")
	}), supervisor.Options{
		Name:    "flaky",
		Backoff: supervisor.Backoff{InitialDelay: time.Microsecond, Multiplier: 1},
	}))
	fmt.Println(sup.Serve(ctx), "after", tries, "tries")
	// Output:
	// context canceled after 20 tries
}
