package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// What an attack on the package found, one test for each.

func TestBackgroundChildIsTriedAgainAfterARestartByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sp := supervisor.Spec{Service: s.actor("a", act{}, act{ready: -1, run: time.Second, end: returns(errBoom)}), Background: true}
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{sp}})
		run := serve(t, sup)
		synctest.Wait()
		is(t, "Terminate", sup.Terminate(t.Context(), "a"))
		is(t, "Restart", sup.Restart(t.Context(), "a"))
		sleep(time.Minute)
		in(t, sup, "a:ready")
		run.stop(t)
	})
}

func TestRestartByHandThatAGroupTakesOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: []supervisor.Spec{
			spec(s.actor("a")),
			spec(s.actor("b", act{}, act{ready: time.Hour}, act{ready: -1, run: time.Second, end: returns(errBoom)})),
		}})
		run := serve(t, sup)
		synctest.Wait()
		is(t, "Terminate", sup.Terminate(t.Context(), "b"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sup.Restart(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restart = %v", err)
		}
		s.ends("a", returns(errBoom))
		sleep(time.Minute)
		in(t, sup, "a:ready b:ready")
		run.stop(t)
	})
}

func TestLastWordsOfAChildThatIsAboutToBeStopped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		says error
		want string
	}{
		{supervisor.ErrTerminateTree, "a:ended b:ended c:idle"},
		{supervisor.ErrDoNotRestart, "a:ready b:ended c:ready"},
	} {
		t.Run(tt.says.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newStage(t)
				sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: []supervisor.Spec{
					spec(s.actor("a")), spec(s.actor("b")),
					{Service: s.actor("c", act{linger: time.Minute}), Shutdown: supervisor.Infinite},
				}})
				run := serve(t, sup)
				synctest.Wait()
				s.ends("a", returns(errBoom)) // c is told to stop, and then it is b's turn
				synctest.Wait()
				s.ends("b", returns(tt.says))
				sleep(2 * time.Minute)
				if tt.says == supervisor.ErrTerminateTree {
					if err := run.wait(); !errors.Is(err, tt.says) {
						t.Errorf("Serve = %v", err)
					}
					return
				}
				in(t, sup, tt.want)
				run.stop(t)
			})
		})
	}
}

func TestAllSignificantWhileOneIsTerminated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		significant := func(name string, acts ...act) supervisor.Spec {
			return supervisor.Spec{Service: s.actor(name, acts...), Restart: supervisor.Transient, Significant: true}
		}
		sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: supervisor.AllSignificant, Children: []supervisor.Spec{
			significant("a", act{linger: time.Second}), significant("b"), spec(s.actor("c")),
		}})
		run := serve(t, sup)
		synctest.Wait()
		go sup.Terminate(t.Context(), "a")
		synctest.Wait()
		s.ends("b", returns(nil))
		sleep(time.Minute)
		is(t, "Serve", run.wait(), nil)
	})
}

func TestRestartOfAnAbandonedChildThatWaitsForItsSiblings(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		b := s.actor("b", act{linger: time.Hour})
		b.twins = true
		sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: []supervisor.Spec{
			spec(s.actor("a", act{}, act{ready: 10 * time.Second})),
			{Service: b, Shutdown: time.Second, AllowAbandoned: true},
		}})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("a", returns(errBoom))
		sleep(2 * time.Second)
		in(t, sup, "a:starting b:abandoned")
		is(t, "Restart", sup.Restart(t.Context(), "b"), supervisor.ErrRestarting)
		sleep(time.Minute)
		in(t, sup, "a:ready b:ready")
		run.stop(t)
		sleep(time.Hour)
	})
}

func TestReadyThatEndsItsGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(s.actor("a"))}})
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_ = sup.ServeReady(t.Context(), runtime.Goexit)
		}()
		<-gone
		in(t, sup, "a:idle")
		run := serve(t, sup)
		synctest.Wait()
		run.stop(t)
	})
}

func TestSutureIsServedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		theirs := suture.New("theirs", suture.Spec{EventHook: func(suture.Event) {}})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: theirs}}})
		run := serve(t, sup)
		synctest.Wait()
		in(t, sup, "theirs:ready")
		run.stop(t)
		run = serve(t, sup)
		synctest.Wait()
		if got := troubleOf(sup.Status().Children[0].Status).LastError; got == nil {
			t.Error("the second start says nothing")
		}
		run.stop(t)
	})
}

func TestEndOfAnAbandonedRunHasItsGeneration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		a := s.actor("a", act{linger: time.Hour})
		a.twins = true
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: a, Shutdown: time.Second, AllowAbandoned: true}}})
		events := sup.Subscribe(99)
		run := serve(t, sup)
		synctest.Wait()
		is(t, "Terminate", sup.Terminate(t.Context(), "a"), supervisor.ErrAbandoned)
		is(t, "Restart", sup.Restart(t.Context(), "a"))
		sleep(time.Hour)
		run.stop(t)
		events.Close()
		for e := range events.Events() {
			if e.Kind == supervisor.EventExited {
				if e.Generation != 1 {
					t.Errorf("%v has generation %d, want 1", e, e.Generation)
				}
				return
			}
		}
		t.Error("the end was not told")
	})
}

func TestRestarterInsideASupervisor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		r := supervisor.NewRestarter(s.actor("api", act{ready: time.Second, run: 2 * time.Second, end: returns(errBoom)}, act{ready: time.Second, linger: time.Second}), supervisor.Options{})
		inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
			{Service: s.actor("deaf", act{linger: 2 * time.Hour}), Shutdown: time.Second},
		}})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			{Service: r}, spec(s.actor("b")), {Name: "wrapped", Service: supervisor.NewRestarter(inner, supervisor.Options{})},
		}})
		run := serve(t, sup)
		synctest.Wait()
		in(t, sup, "api:starting b:waiting wrapped:waiting") // gated on the service inside
		sleep(time.Second)
		in(t, sup, "api:ready b:ready wrapped:ready")
		if got := sup.Status().Children[2].Inside; got == nil || got.Name != "inner" || len(got.Children) != 1 {
			t.Errorf("inside the wrapped one is %+v", got)
		}
		sleep(time.Second)
		in(t, sup, "api:backoff b:ready wrapped:ready")
		sleep(2 * time.Second)
		run.cancel()
		sleep(time.Second + time.Millisecond) // wrapped takes a second, then b
		if c := sup.Status().Children[0]; c.State != supervisor.StateStopping || c.Restarts != 1 || c.Generation != 2 {
			t.Errorf("api is %v, generation %d after %d restarts; want stopping, 2, 1", c.State, c.Generation, c.Restarts)
		}
		if got := fmt.Sprint(sup.Abandoned()); got != "[wrapped/deaf]" {
			t.Errorf("abandoned are %v", got)
		}
		is(t, "Serve", run.wait(), context.Canceled)
		sleep(2 * time.Hour)
	})
}

func TestWhatCannotBeAChild(t *testing.T) {
	t.Parallel()
	outer := newSupervisor(t, supervisor.SupervisorOptions{Name: "outer"})
	inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
		{Service: supervisor.NewRestarter(outer, supervisor.Options{})},
	}})
	for name, svc := range map[string]supervisor.Service{
		"itself": outer, "what holds it": inner, "a nil supervisor": (*supervisor.Supervisor)(nil),
		"a nil pool": (*supervisor.Pool)(nil), "a nil restarter": (*supervisor.Restarter)(nil),
	} {
		as[*supervisor.SpecError](t, name, outer.Add(t.Context(), supervisor.Spec{Service: svc}))
	}
	_, err := supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: (*supervisor.Supervisor)(nil)}}})
	as[*supervisor.SpecError](t, "New", err)
}

// embedded is what a user makes of a supervisor.
type embedded struct{ *supervisor.Supervisor }

func TestEmbeddedSupervisorIsOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
			{Service: s.actor("slow", act{linger: time.Minute}), Shutdown: supervisor.Infinite},
		}})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: embedded{inner}}}})
		events := sup.Subscribe(99)
		run := serve(t, sup)
		synctest.Wait()
		run.cancel()
		begin := time.Now()
		is(t, "Serve", run.wait(), context.Canceled)
		if got := time.Since(begin); got != time.Minute {
			t.Errorf("stopped after %v, want a minute: it is waited for", got)
		}
		events.Close()
		for e := range events.Events() {
			if e.Path == "inner" {
				return
			}
		}
		t.Error("no event came from inside")
	})
}

func TestBackgroundChildThatIsAbandonedHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			{Service: s.actor("bg", act{linger: time.Hour}), Shutdown: time.Second, Background: true}, spec(s.actor("b")),
		}})
		run := serve(t, sup)
		synctest.Wait()
		run.stop(t)
		run = serve(t, sup)
		synctest.Wait()
		in(t, sup, "bg:abandoned b:ready")
		sleep(time.Hour)
		in(t, sup, "bg:ready b:ready")
		run.stop(t)
	})
}

func TestRestartThatIsOneTooMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{
			Intensity: supervisor.Intensity{MaxRestarts: 1},
			Children:  []supervisor.Spec{{Service: s.actor("a", act{}, act{ready: -1, run: 1, end: returns(errBoom)})}},
		})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("a", returns(errBoom))
		synctest.Wait()
		as[*supervisor.StartError](t, "Restart", sup.Restart(t.Context(), "a"))
		as[*supervisor.IntensityError](t, "Serve", run.wait())
	})
}

// What a panic inside another supervisor was called with says nothing.
func TestIntensityErrorThatHoldsAPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tries := 0
		part := supervisor.ServiceFunc(func(ctx context.Context) error {
			inner := newSupervisor(t, supervisor.SupervisorOptions{
				Intensity: supervisor.Intensity{MaxRestarts: -1},
				Children: []supervisor.Spec{{Name: "c", Service: supervisor.ServiceFunc(func(ctx context.Context) error {
					if tries++; tries > 1 {
						<-ctx.Done()
					}
					panic(supervisor.ErrDoNotRestart)
				})}},
			})
			return fmt.Errorf("part: %w", inner.Serve(ctx))
		})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Name: "part", Service: part}}})
		run := serve(t, sup)
		sleep(time.Minute)
		in(t, sup, "part:ready")
		run.stop(t)
	})
}

func TestTerminateDuringAStopWaitsForItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			spec(s.actor("a")), {Service: s.actor("b", act{linger: time.Second}), Shutdown: time.Minute},
		}})
		run := serve(t, sup)
		synctest.Wait()
		run.cancel()
		synctest.Wait()
		begin := time.Now()
		is(t, "Terminate", sup.Terminate(t.Context(), "a"))
		if got := time.Since(begin); got != time.Second {
			t.Errorf("a stopped after %v, want b's second", got)
		}
		is(t, "Serve", run.wait(), context.Canceled)
	})
}

func TestPoolChildIsStartedNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		pool, err := supervisor.NewPool(supervisor.PoolOptions{})
		if err != nil {
			t.Fatal(err)
		}
		run := serve(t, pool)
		synctest.Wait()
		starts := 0
		c, err := pool.Start(t.Context(), supervisor.ServiceFunc(func(context.Context) error { starts++; return errBoom }))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		pool.RestartNow(nil)
		pool.RestartNow(c)
		synctest.Wait()
		if starts != 2 {
			t.Errorf("%d starts, want 2", starts)
		}
		pool.SetIntensity(supervisor.Intensity{MaxRestarts: -1})
		sleep(2 * time.Second)
		as[*supervisor.IntensityError](t, "Serve", run.wait())
	})
}
