package supervisor_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// An abandoned goroutine is reported, counted, and never doubled.
func TestSupervisorAbandons(t *testing.T) {
	stuck := func(s *stage, allow bool) supervisor.Spec {
		sp := spec(s.actor("a", act{linger: time.Hour}))
		sp.Shutdown, sp.AllowAbandoned = time.Second, allow
		if allow {
			sp.Service.(*actor).twins = true
		}
		return sp
	}
	under(t, map[string]func(*testing.T){
		"at terminate": func(t *testing.T) {
			s := newStage(t)
			ctx := t.Context()
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("b"), stuck(s, false))})
			events := sup.Subscribe(99)
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Terminate", sup.Terminate(ctx, "a"), supervisor.ErrAbandoned)
			in(t, sup, "b:ready a:abandoned")
			is(t, "Terminate again", sup.Terminate(ctx, "a"), supervisor.ErrAbandoned)
			is(t, "Restart", sup.Restart(ctx, "a"), supervisor.ErrAbandoned)
			if got := sup.Status().String(); !strings.Contains(got, "ready, 1 goroutine abandoned\n") {
				t.Errorf("status does not tell of it:\n%s", got)
			}
			is(t, "Delete", sup.Delete("a"))
			is(t, "Add", sup.Add(ctx, stuck(s, false)), supervisor.ErrAbandoned)
			if got := fmt.Sprint(sup.Abandoned()); got != "[a]" {
				t.Errorf("abandoned: %v, want a", got)
			}
			sleep(time.Hour)
			is(t, "Add", sup.Add(ctx, stuck(s, false)))
			events.Close()
			var got []string
			for e := range events.Events() {
				if e.Name == "a" {
					got = append(got, e.Kind.String())
				}
			}
			if diff := cmp.Diff("starting ready stopping abandoned deleted exited added starting ready", strings.Join(got, " ")); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
			run.stop(t)
			sleep(time.Hour)
		},
		"and started again when it has ended": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("b"), stuck(s, false))})
			run := serve(t, sup)
			synctest.Wait()
			run.stop(t)
			s.saw("+b b! +a a! -b")
			run = serve(t, sup)
			in(t, sup, "b:ready a:abandoned")
			s.saw("+b b!")
			sleep(time.Hour)
			in(t, sup, "b:ready a:ready")
			s.saw("-a +a a!")
			run.stop(t)
		},
		"in a group": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: append(s.specs("b"), stuck(s, false))})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("b", returns(errBoom))
			sleep(time.Second)
			in(t, sup, "b:ready a:abandoned")
			sleep(time.Hour)
			in(t, sup, "b:ready a:ready")
			run.stop(t)
			s.saw("+b b! +a a! -b +b b! -a +a a! -a -b")
		},
		"unless asked for": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{stuck(s, true)}})
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Terminate", sup.Terminate(t.Context(), "a"), supervisor.ErrAbandoned)
			is(t, "Restart", sup.Restart(t.Context(), "a"))
			in(t, sup, "a:ready")
			if got := sup.Status().Abandoned; got != 1 {
				t.Errorf("%d abandoned, want 1", got)
			}
			sleep(time.Hour)
			in(t, sup, "a:ready")
			run.stop(t)
		},
		"inside": func(t *testing.T) {
			s := newStage(t)
			inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{stuck(s, false)}})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(inner)}})
			run := serve(t, sup)
			synctest.Wait()
			run.stop(t)
			if got := fmt.Sprint(sup.Abandoned()); got != "[inner/a]" {
				t.Errorf("abandoned: %v, want inner/a", got)
			}
			sleep(time.Hour)
		},
	})
}

// A run that was never ready is not stable, though an abandoned one beside it
// had been ready long before.
func TestBesideAnAbandonedRunNothingIsForgiven(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		failing := act{ready: -1, run: time.Millisecond, end: returns(errBoom)}
		a := s.actor("a", act{run: time.Second, end: returns(errBoom)}, act{linger: time.Hour}, failing)
		a.twins = true
		sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: []supervisor.Spec{
			{Service: a, Shutdown: 2 * time.Second, AllowAbandoned: true}, spec(s.actor("b")),
		}})
		run := serve(t, sup)
		sleep(2 * time.Second) // a has failed once, after 1 s, and its second run is ready
		in(t, sup, "a:ready b:ready")
		sleep(time.Second)
		s.ends("b", returns(errBoom)) // stops a, which does not end in its 2 seconds
		sleep(2*time.Second + time.Millisecond)
		in(t, sup, "a:backoff b:waiting")
		if got := sup.Status().Children[0].Trouble; got.Consecutive != 2 || time.Until(got.NextTry) != 2*time.Second {
			t.Errorf("%d failures in a row, next try in %v; want 2, and 2s", got.Consecutive, time.Until(got.NextTry))
		}
		run.stop(t)
		sleep(2 * time.Hour)
	})
}

// A run that was stable has forgiven what was before it, also if it is abandoned.
func TestAbandonedStableRunForgives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		a := s.actor("a", act{run: time.Second, end: returns(errBoom)}, act{linger: time.Hour})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: []supervisor.Spec{
			{Service: a, Shutdown: 2 * time.Second}, spec(s.actor("b")),
		}})
		run := serve(t, sup)
		sleep(2*time.Second + time.Minute)
		s.ends("b", returns(errBoom))
		sleep(time.Minute)
		if got := sup.Status().Children[0]; got.State != supervisor.StateAbandoned || got.Trouble.Consecutive != 0 {
			t.Errorf("a is %v with %d failures in a row, want abandoned, 0", got.State, got.Trouble.Consecutive)
		}
		run.stop(t)
		sleep(2 * time.Hour)
	})
}
