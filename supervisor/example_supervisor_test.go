package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/oklog/run"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// part is a service that tells when it starts and stops, and fails when it is
// told to.
type part struct {
	name string
	fail chan error
}

func newPart(name string) part { return part{name, make(chan error)} }

func (p part) String() string                  { return p.name }
func (p part) Serve(ctx context.Context) error { return p.ServeReady(ctx, func() {}) }

func (p part) ServeReady(ctx context.Context, ready func()) error {
	fmt.Println("start", p.name)
	defer fmt.Println("stop", p.name)
	ready()
	select {
	case err := <-p.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noDelay restarts at once, as OTP does.
var noDelay = supervisor.Backoff{InitialDelay: -1}

// failing serves three children by a strategy, and lets the second one fail.
func failing(strategy supervisor.Strategy) {
	a, b, c := newPart("a"), newPart("b"), newPart("c")
	sup, err := supervisor.New(supervisor.SupervisorOptions{
		Name:     "root",
		Strategy: strategy,
		Children: []supervisor.Spec{
			{Service: a, Backoff: noDelay},
			{Service: b, Backoff: noDelay},
			{Service: c, Backoff: noDelay},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	events := sup.Subscribe(100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	up := make(chan struct{})
	go func() { done <- sup.ServeReady(ctx, func() { close(up) }) }()
	<-up
	fmt.Println("-- b fails")
	b.fail <- errors.New("boom")
	for e := range events.Events() {
		all := true
		for _, child := range sup.Status().Children {
			all = all && child.State == supervisor.StateReady
		}
		if e.Kind == supervisor.EventReady && e.Generation == 2 && all {
			break
		}
	}
	fmt.Println("-- all are up again")
	cancel()
	fmt.Println(<-done)
}

// Children that do not need each other.
func ExampleSupervisor_oneForOne() {
	failing(supervisor.OneForOne)
	// Output:
	// start a
	// start b
	// start c
	// -- b fails
	// stop b
	// start b
	// -- all are up again
	// stop c
	// stop b
	// stop a
	// context canceled
}

// Children that cannot do without each other.
func ExampleSupervisor_oneForAll() {
	failing(supervisor.OneForAll)
	// Output:
	// start a
	// start b
	// start c
	// -- b fails
	// stop b
	// stop c
	// stop a
	// start a
	// start b
	// start c
	// -- all are up again
	// stop c
	// stop b
	// stop a
	// context canceled
}

// Children of which each depends on those before it.
func ExampleSupervisor_restForOne() {
	failing(supervisor.RestForOne)
	// Output:
	// start a
	// start b
	// start c
	// -- b fails
	// stop b
	// stop c
	// start b
	// start c
	// -- all are up again
	// stop c
	// stop b
	// stop a
	// context canceled
}

// A supervisor that gives up fails to the one above, which starts it anew, and
// gives up itself when that does not help either.
func ExampleSupervisor_escalation() {
	tries := 0
	broken := supervisor.ServiceFunc(func(context.Context) error {
		tries++
		return errors.New("no such table")
	})
	inner, _ := supervisor.New(supervisor.SupervisorOptions{
		Name:      "inner",
		Intensity: supervisor.Intensity{MaxRestarts: 2, Within: time.Minute},
		Children:  []supervisor.Spec{{Name: "broken", Service: broken, Backoff: noDelay}},
	})
	root, _ := supervisor.New(supervisor.SupervisorOptions{
		Name:      "root",
		Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Minute},
		Children:  []supervisor.Spec{{Service: inner, Backoff: noDelay, Background: true}},
	})
	err := root.Serve(context.Background())
	fmt.Println(err)
	fmt.Println(tries, "tries")
	var gaveUp *supervisor.IntensityError
	fmt.Println(errors.As(err, &gaveUp), gaveUp.Child)
	// Output:
	// root gave up after 1 restarts within 1m0s: inner: inner gave up after 2 restarts within 1m0s: broken: no such table
	// 6 tries
	// true inner
}

// Children that come and go, by one template.
func ExamplePool() {
	pool, err := supervisor.NewPool(supervisor.PoolOptions{
		Name:     "conns",
		Restart:  supervisor.Temporary,
		Shutdown: time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- pool.ServeReady(ctx, func() { close(up) }) }()
	<-up

	first, _ := pool.Start(ctx, newPart("first"))
	pool.Start(ctx, newPart("second"))
	fmt.Println(pool.Len(), "connections")
	pool.Stop(ctx, first)
	fmt.Println(pool.Status())
	cancel()
	fmt.Println(<-done)
	// Output:
	// start first
	// start second
	// 2 connections
	// stop first
	// conns (one_for_one) ready
	// └─ conns-2 ready
	// stop second
	// context canceled
}

// Change what runs while it runs.
func ExampleSupervisor_Add() {
	sup, _ := supervisor.New(supervisor.SupervisorOptions{Name: "root"})
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- sup.ServeReady(ctx, func() { close(up) }) }()
	<-up

	fmt.Println(sup.Add(ctx, supervisor.Spec{Service: newPart("http")}))
	fmt.Println(sup.Add(ctx, supervisor.Spec{Service: newPart("http")}))
	fmt.Println(sup.Terminate(ctx, "http"))
	fmt.Println(sup.Restart(ctx, "http"))
	fmt.Println(sup.Delete("http"))
	cancel()
	<-done
	// Output:
	// start http
	// <nil>
	// add http to root: already started
	// stop http
	// <nil>
	// start http
	// <nil>
	// delete http from root: running
	// stop http
}

// A supervisor is one actor of an oklog/run group.
func ExampleSupervisor_run() {
	sup, _ := supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{
		{Service: newPart("store")}, {Service: newPart("api")},
	}})
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan struct{})
	var g run.Group
	g.Add(func() error { return sup.ServeReady(ctx, func() { close(up) }) }, func(error) { cancel() })
	g.Add(func() error { <-up; return errors.New("told to stop") }, func(error) {})
	fmt.Println(g.Run())
	// Output:
	// start store
	// start api
	// stop api
	// stop store
	// told to stop
}

// Under a plain suture supervisor, and over one.
func ExampleSupervisor_suture() {
	ctx, cancel := context.WithCancel(context.Background())
	var runs atomic.Int32
	theirs := suture.NewSimple("theirs")
	theirs.Add(supervisor.ServiceFunc(func(ctx context.Context) error {
		runs.Add(1)
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}))
	ours, _ := supervisor.New(supervisor.SupervisorOptions{
		Name:     "ours",
		Children: []supervisor.Spec{{Service: newPart("store")}, {Service: theirs}},
	})
	root := suture.NewSimple("root")
	root.Add(ours)
	fmt.Println(root.Serve(ctx), runs.Load())
	// Output:
	// start store
	// stop store
	// context canceled 1
}
