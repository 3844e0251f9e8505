package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

type keyOfTest struct{}

// The context of a run has the values of Serve's, and an end of its own, which
// reaches everything that the service derives from it.
func TestContextOfARun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ctx context.Context
		s, err := supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{{
			Name: "a",
			Service: supervisor.ServiceFunc(func(c context.Context) error {
				ctx = c
				<-c.Done()
				return c.Err()
			}),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		serving, cancel := context.WithCancelCause(context.WithValue(t.Context(), keyOfTest{}, "value"))
		done := make(chan error, 1)
		go func() { done <- s.Serve(serving) }()
		synctest.Wait()

		if got := ctx.Value(keyOfTest{}); got != "value" {
			t.Errorf("value = %v", got)
		}
		if _, ok := ctx.Deadline(); ok || ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("a running service's context has a deadline (%v) or has ended: %v", ok, ctx.Err())
		}
		if got := fmt.Sprint(ctx); got != "supervisor.run" {
			t.Errorf("printed as %q", got)
		}
		derived, cancelDerived := context.WithCancelCause(ctx)
		timed, cancelTimed := context.WithTimeout(derived, time.Hour)
		defer cancelTimed()
		var called []string
		note := func(what string) func() { return func() { called = append(called, what) } }
		context.AfterFunc(ctx, note("after"))
		stopped := context.AfterFunc(ctx, note("stopped"))
		if !stopped() || stopped() {
			t.Error("stop of a pending function: want true, then false")
		}
		gone, cancelGone := context.WithCancel(ctx)
		cancelGone()
		if gone.Err() == nil || ctx.Err() != nil {
			t.Errorf("a derived context that was cancelled: %v; its parent: %v", gone.Err(), ctx.Err())
		}

		cancel(errBoom)
		if err := <-done; err != context.Canceled {
			t.Errorf("Serve = %v", err)
		}
		synctest.Wait()
		for _, c := range []context.Context{ctx, derived, timed} {
			if c.Err() != context.Canceled || context.Cause(c) != context.Canceled {
				t.Errorf("%v has ended with %v, %v; want context.Canceled", c, c.Err(), context.Cause(c))
			}
		}
		cancelDerived(errBoom) // too late
		if got := context.Cause(derived); got != context.Canceled {
			t.Errorf("cause of the derived one = %v", got)
		}
		context.AfterFunc(ctx, note("late"))
		late, cancelLate := context.WithCancel(ctx)
		defer cancelLate()
		synctest.Wait()
		if late.Err() == nil {
			t.Error("a context derived from one that has ended has not")
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"after", "late"}, called); diff != "" {
			t.Errorf("functions called (-want +got):\n%s", diff)
		}
	})
}

// curious is an error that looks at the supervisor when it is printed.
type curious struct{ look func() }

func (e *curious) Error() string { e.look(); return "curious" }
func (*curious) Unwrap() error   { return supervisor.ErrTerminateTree }

// Code of others runs without a lock held, that of errors too.
func TestErrorThatAsksForTheStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var sup *supervisor.Supervisor
		var r *supervisor.Restarter
		err := &curious{look: func() { _, _ = sup.Status(), r.Status() }}
		sup, specErr := supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{{
			Name: "a", Service: newScript(t, fails(err)),
		}}})
		if specErr != nil {
			t.Fatal(specErr)
		}
		r = supervisor.NewRestarter(newScript(t, fails(err)), supervisor.Options{Restart: supervisor.Temporary})
		for _, svc := range []supervisor.Service{sup, r} {
			if got := svc.Serve(t.Context()); !errors.Is(got, supervisor.ErrTerminateTree) || got.Error() == "" {
				t.Errorf("Serve = %v", got)
			}
		}
	})
}

// Children that end because Serve's context did are no failures, also when they
// are faster than Serve.
func TestEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx := &lateContext{Context: t.Context()}
	end := make(chan struct{})
	ending := func(context.Context) error { <-end; return errBoom }
	sup, err := supervisor.New(supervisor.SupervisorOptions{
		Intensity: supervisor.Intensity{MaxRestarts: -1},
		Children: []supervisor.Spec{
			{Name: "a", Service: supervisor.ServiceFunc(ending)},
			{Name: "b", Service: supervisor.ServiceFunc(ending)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sup.ServeReady(ctx, func() { ctx.ended.Store(true); close(end) }); err != context.Canceled {
		t.Errorf("Serve = %v, want context.Canceled", err)
	}
	for _, c := range sup.Status().Children {
		if c.State != supervisor.StateIdle || c.Trouble != nil {
			t.Errorf("%s is %v with %+v, want idle", c.Name, c.State, c.Trouble)
		}
	}
}
