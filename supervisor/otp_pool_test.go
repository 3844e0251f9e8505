package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// The second half of the table in otp_test.go: the end of significant children,
// and pools.

func TestOTPAutoShutdown(t *testing.T) {
	cases := map[string]func(*testing.T){}
	for _, tt := range []struct {
		name    string
		auto    supervisor.AutoShutdown
		restart supervisor.Restart
		ends    []string // in this order; "a!" by a failure
		over    bool
	}{
		{"any, transient", supervisor.AnySignificant, supervisor.Transient, []string{"a"}, true},
		{"any, transient, fails", supervisor.AnySignificant, supervisor.Transient, []string{"a!"}, false},
		{"any, temporary", supervisor.AnySignificant, supervisor.Temporary, []string{"a"}, true},
		{"any, temporary, fails", supervisor.AnySignificant, supervisor.Temporary, []string{"a!"}, true},
		{"any, the insignificant", supervisor.AnySignificant, supervisor.Transient, []string{"c"}, false},
		{"all, transient, one", supervisor.AllSignificant, supervisor.Transient, []string{"a"}, false},
		{"all, transient, both", supervisor.AllSignificant, supervisor.Transient, []string{"a", "b"}, true},
		{"all, transient, one fails", supervisor.AllSignificant, supervisor.Transient, []string{"a", "b!"}, false},
		{"all, temporary, both", supervisor.AllSignificant, supervisor.Temporary, []string{"a!", "b"}, true},
		{"all, the insignificant", supervisor.AllSignificant, supervisor.Transient, []string{"c", "a"}, false},
	} {
		cases[tt.name] = func(t *testing.T) {
			s := newStage(t)
			specs := s.specs("a", "b", "c", "d")
			for i := range specs[:3] {
				specs[i].Restart = tt.restart
				specs[i].Significant = i < 2
			}
			sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: tt.auto, Children: specs})
			run := serve(t, sup)
			synctest.Wait()
			for _, name := range tt.ends {
				if n := name[:1]; n != name {
					s.ends(n, returns(errBoom))
				} else {
					s.ends(n, returns(nil))
				}
			}
			if !tt.over {
				run.stop(t)
				return
			}
			is(t, "Serve", run.wait())
		}
	}
	cases["not by an administrator"] = func(t *testing.T) {
		s := newStage(t)
		specs := s.specs("a")
		specs[0].Restart, specs[0].Significant = supervisor.Transient, true
		sup := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: supervisor.AnySignificant, Children: specs})
		run := serve(t, sup)
		synctest.Wait()
		is(t, "Terminate", sup.Terminate(t.Context(), "a"))
		run.stop(t)
	}
	cases["not by a sibling"] = func(t *testing.T) {
		s := newStage(t)
		specs := s.specs("a", "b")
		specs[0].Restart, specs[0].Significant = supervisor.Temporary, true
		sup := newSupervisor(t, supervisor.SupervisorOptions{
			Strategy: supervisor.OneForAll, AutoShutdown: supervisor.AnySignificant, Children: specs,
		})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("b", returns(errBoom)) // stops a, which is not started again
		in(t, sup, "a:idle b:ready")
		run.stop(t)
	}
	cases["up the tree"] = func(t *testing.T) {
		s := newStage(t)
		specs := s.specs("a")
		specs[0].Restart, specs[0].Significant = supervisor.Transient, true
		inner := supervisor.Spec{Restart: supervisor.Transient, Significant: true, Service: newSupervisor(t, supervisor.SupervisorOptions{
			Name: "inner", AutoShutdown: supervisor.AnySignificant, Children: specs,
		})}
		sup := newSupervisor(t, supervisor.SupervisorOptions{
			AutoShutdown: supervisor.AllSignificant, Children: append(s.specs("b"), inner),
		})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("a", returns(nil))
		is(t, "Serve", run.wait())
		s.saw("+b b! +a a! -a -b")
	}
	under(t, cases)
}

func TestOTPPool(t *testing.T) {
	newPool := func(t *testing.T, o supervisor.PoolOptions) (*supervisor.Pool, *running) {
		pool, err := supervisor.NewPool(o)
		if err != nil {
			t.Fatal(err)
		}
		run := serve(t, pool)
		synctest.Wait()
		return pool, run
	}
	start := func(t *testing.T, pool *supervisor.Pool, svc supervisor.Service) *supervisor.PoolChild {
		t.Helper()
		c, err := pool.Start(t.Context(), svc)
		is(t, "Start", err)
		return c
	}
	under(t, map[string]func(*testing.T){
		"adm": func(t *testing.T) {
			s := newStage(t)
			pool, run := newPool(t, supervisor.PoolOptions{Name: "conns"})
			events := pool.Subscribe(99)
			a, b := start(t, pool, s.actor("a")), start(t, pool, s.actor("b"))
			in(t, pool, "conns-1:ready conns-2:ready")
			if a.String() != "conns-1" || pool.String() != "conns" || pool.Len() != 2 {
				t.Errorf("child %v in %v, with %d", a, pool, pool.Len())
			}
			is(t, "Stop", pool.Stop(t.Context(), a))
			is(t, "Stop again", pool.Stop(t.Context(), a))
			in(t, pool, "conns-2:ready")
			other, _ := supervisor.NewPool(supervisor.PoolOptions{})
			is(t, "Stop in another", other.Stop(t.Context(), b), supervisor.ErrNotFound)
			is(t, "Stop of nil", pool.Stop(t.Context(), nil), supervisor.ErrNotFound)
			_, err := pool.Start(t.Context(), nil)
			as[*supervisor.SpecError](t, "Start(nil)", err)
			_, err = pool.Start(t.Context(), s.actor("c", act{ready: -1, end: returns(errBoom)}))
			as[*supervisor.StartError](t, "Start", err)
			run.stop(t)
			in(t, pool, "")
			_, err = pool.Start(t.Context(), s.actor("c"))
			is(t, "Start", err, supervisor.ErrNotServed)
			is(t, "Stop after the end", pool.Stop(t.Context(), b))
			events.Close()
			if e := <-events.Events(); e.Kind != supervisor.EventAdded || e.Name != "conns-1" {
				t.Errorf("first event: %v, want conns-1: added", e)
			}
		},
		"refused": func(t *testing.T) {
			_, err := supervisor.NewPool(supervisor.PoolOptions{Restart: 7})
			as[*supervisor.SpecError](t, "NewPool", err)
		},
		"restart": func(t *testing.T) {
			for restart, want := range map[supervisor.Restart]string{
				supervisor.Permanent: "+a a! -a +a a! -a +a a! -a",
				supervisor.Transient: "+a a! -a +a a! -a",
				supervisor.Temporary: "+a a! -a",
			} {
				s := newStage(t)
				pool, run := newPool(t, supervisor.PoolOptions{Restart: restart, Backoff: eager})
				start(t, pool, s.actor("a", act{run: 1, end: returns(errBoom)}, act{run: 1, end: returns(nil)}))
				sleep(time.Second)
				run.stop(t)
				s.saw(want)
			}
		},
		"shutdown": func(t *testing.T) { // all at the same time, each with its own limit
			s := newStage(t)
			pool, run := newPool(t, supervisor.PoolOptions{Shutdown: 2 * time.Second})
			for i, linger := range []time.Duration{time.Second, time.Second, time.Minute, time.Minute} {
				start(t, pool, s.actor(fmt.Sprint(i), act{linger: linger}))
			}
			begin := time.Now()
			run.stop(t)
			if got := time.Since(begin); got != 2*time.Second {
				t.Errorf("stop took %v, want 2s", got)
			}
			if got := fmt.Sprint(pool.Abandoned()); got != "[pool-3 pool-4]" {
				t.Errorf("abandoned: %v, want pool-3 and pool-4", got)
			}
			run = serve(t, pool) // goes without them
			synctest.Wait()
			start(t, pool, s.actor("a"))
			in(t, pool, "pool-5:ready")
			run.stop(t)
			time.Sleep(time.Minute)
		},
		"escalation": func(t *testing.T) {
			s := newStage(t)
			pool, run := newPool(t, supervisor.PoolOptions{Backoff: eager, Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Hour}})
			start(t, pool, s.actor("a"))
			start(t, pool, s.actor("b"))
			s.ends("a", returns(errBoom))
			s.ends("b", returns(errBoom))
			err := as[*supervisor.IntensityError](t, "Serve", run.wait())
			if err.Child != "pool-2" {
				t.Errorf("Serve = %v, want it to name pool-2", err)
			}
		},
		"a start that takes too long": func(t *testing.T) {
			s := newStage(t)
			pool, run := newPool(t, supervisor.PoolOptions{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			c, err := pool.Start(ctx, s.actor("a", act{ready: time.Minute}))
			is(t, "Start", err, context.DeadlineExceeded)
			in(t, pool, "pool-1:starting")
			is(t, "Stop", pool.Stop(t.Context(), c))
			in(t, pool, "")
			run.stop(t)
		},
		"an abandoned child": func(t *testing.T) {
			s := newStage(t)
			pool, run := newPool(t, supervisor.PoolOptions{Shutdown: time.Second})
			a := start(t, pool, s.actor("a", act{linger: time.Minute}))
			is(t, "Stop", pool.Stop(t.Context(), a), supervisor.ErrAbandoned)
			is(t, "Stop", pool.Stop(t.Context(), a), supervisor.ErrAbandoned)
			in(t, pool, "")
			sleep(time.Minute)
			is(t, "Stop", pool.Stop(t.Context(), a))
			run.stop(t)
		},
		"in a supervisor": func(t *testing.T) {
			s := newStage(t)
			pool, _ := supervisor.NewPool(supervisor.PoolOptions{})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), spec(pool))})
			run := serve(t, sup)
			synctest.Wait()
			start(t, pool, s.actor("b", act{linger: time.Hour}))
			if st := sup.Status().Children[1].Inside; st == nil || len(st.Children) != 1 {
				t.Errorf("inside the pool: %v, want one child", st)
			}
			run.stop(t) // the pool is waited for, and it waits for 5 s
			s.saw("+a a! +b b! -a")
			if got := fmt.Sprint(sup.Abandoned()); got != "[pool/pool-1]" {
				t.Errorf("abandoned: %v, want pool/pool-1", got)
			}
			sleep(time.Hour)
		},
	})
}
