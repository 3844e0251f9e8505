package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// Administration works while a child hangs in its stop, and a stop wins against
// a restart that is due.
func TestSupervisorAdmin(t *testing.T) {
	under(t, map[string]func(*testing.T){
		"terminate wins against a pending restart": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: s.actor("a")}}})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			in(t, sup, "a:backoff")
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			sleep(time.Hour)
			in(t, sup, "a:idle")
			run.stop(t)
		},
		"terminate in the instant of the restart": func(t *testing.T) {
			for range 100 {
				s := newStage(t)
				sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: s.actor("a")}}})
				run := serve(t, sup)
				synctest.Wait()
				s.ends("a", returns(errBoom))
				time.Sleep(time.Second) // and not Wait: the timer is due now
				is(t, "Terminate", sup.Terminate(t.Context(), "a"))
				sleep(time.Hour)
				in(t, sup, "a:idle")
				run.stop(t)
			}
		},
		"terminated before it is ready": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			synctest.Wait()
			added := make(chan error, 1)
			go func() { added <- sup.Add(t.Context(), spec(s.actor("a", act{ready: -1}))) }()
			in(t, sup, "a:starting")
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			is(t, "Add", <-added, supervisor.ErrTerminated)
			in(t, sup, "a:idle")
			run.stop(t)
			in(t, sup, "a:idle")
		},
		"a sibling fails before it is ready": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: s.specs("a")})
			run := serve(t, sup)
			synctest.Wait()
			once := spec(s.actor("once", act{ready: -1}))
			once.Restart = supervisor.Temporary
			added := make(chan error, 2)
			go func() { added <- sup.Add(t.Context(), once) }()
			go func() { added <- sup.Add(t.Context(), spec(s.actor("b", act{ready: -1}))) }()
			synctest.Wait()
			s.ends("a", returns(errBoom))
			is(t, "Add", errors.Join(<-added, <-added), supervisor.ErrTerminated) // of the temporary one
			in(t, sup, "a:ready b:ready")
			run.stop(t)
		},
		"the supervisor ends before it is ready": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			synctest.Wait()
			added := make(chan error, 1)
			go func() { added <- sup.Add(t.Context(), spec(s.actor("a", act{ready: -1, linger: time.Second}))) }()
			synctest.Wait()
			run.cancel()
			is(t, "Add", <-added, supervisor.ErrNotServed)
			is(t, "Add", sup.Add(t.Context(), spec(s.actor("b"))), supervisor.ErrNotServed)
			is(t, "Restart", sup.Restart(t.Context(), "a"), supervisor.ErrNotServed)
			is(t, "Serve", run.wait(), context.Canceled)
			in(t, sup, "") // what never was ready was never added
		},
		"while others hang": func(t *testing.T) {
			s := newStage(t)
			ctx := t.Context()
			slow := spec(s.actor("slow", act{linger: time.Hour}))
			slow.Shutdown = supervisor.Infinite
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				slow, spec(s.actor("a")), spec(s.actor("never", act{ready: -1})), spec(s.actor("after")),
			}})
			run := serve(t, sup)
			synctest.Wait()
			begin := time.Now()
			go sup.Terminate(ctx, "slow")
			in(t, sup, "slow:stopping a:ready never:starting after:waiting")
			is(t, "Restart", sup.Restart(ctx, "after"), supervisor.ErrRestarting)
			is(t, "Delete", sup.Delete("after"), supervisor.ErrRestarting)
			is(t, "Add", sup.Add(ctx, spec(s.actor("b"))))
			is(t, "Terminate", sup.Terminate(ctx, "b"))
			is(t, "Terminate", sup.Terminate(ctx, "a"))
			is(t, "Restart", sup.Restart(ctx, "a"))
			is(t, "Terminate", sup.Terminate(ctx, "never")) // makes way for after
			in(t, sup, "slow:stopping a:ready never:idle after:ready b:idle")
			if got := time.Since(begin); got != 0 {
				t.Errorf("it took %v", got)
			}
			run.stop(t)
		},
		"by a child": func(t *testing.T) {
			s := newStage(t)
			var sup *supervisor.Supervisor
			sup = newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				{Name: "boss", Service: readyFunc(func(ctx context.Context, ready func()) error {
					is(t, "Add", sup.Add(ctx, spec(s.actor("helper"))))
					ready()
					err := sup.Terminate(ctx, "boss") // itself
					is(t, "Terminate", err, context.Canceled)
					return err
				})},
			}})
			run := serve(t, sup)
			in(t, sup, "boss:idle helper:ready")
			run.stop(t)
		},
		"a group leaves what was terminated alone": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: s.specs("a", "b", "c")})
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Terminate", sup.Terminate(t.Context(), "b"))
			s.ends("c", returns(errBoom))
			in(t, sup, "a:ready b:idle c:ready")
			run.stop(t)
		},
		"a group takes with it what has ended": func(t *testing.T) {
			s := newStage(t)
			specs := s.specs("a", "b", "c")
			specs[0].Restart, specs[1].Restart = supervisor.Transient, supervisor.Transient
			sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.OneForAll, Children: specs})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(nil))
			s.ends("b", returns(supervisor.ErrDoNotRestart))
			in(t, sup, "a:ended b:ended c:ready")
			s.ends("c", returns(errBoom))
			in(t, sup, "a:ready b:ended c:ready")
			run.stop(t)
		},
		"settings": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: s.actor("a")}}})
			run := serve(t, sup)
			synctest.Wait()
			is(t, "SetBackoff", sup.SetBackoff("a", supervisor.Backoff{InitialDelay: 7 * time.Second}))
			s.ends("a", returns(errBoom))
			sleep(7*time.Second - 1)
			in(t, sup, "a:backoff")
			sleep(1)
			in(t, sup, "a:ready")
			is(t, "SetBackoff", sup.SetBackoff("a", supervisor.Backoff{InitialDelay: 3 * time.Second}))
			s.ends("a", returns(errBoom))
			sleep(3 * time.Second) // and not twice that: it begins anew
			in(t, sup, "a:ready")
			sup.SetIntensity(supervisor.Intensity{MaxRestarts: -1})
			s.ends("a", returns(errBoom))
			as[*supervisor.IntensityError](t, "Serve", run.wait())
		},
		"host trouble is not counted": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Intensity: supervisor.Intensity{MaxRestarts: -1}, Children: []supervisor.Spec{{Service: s.actor("a")}}})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(hostError{}))
			if c := sup.Status().Children[0]; c.State != supervisor.StateBackoff || troubleOf(c.Status).Consecutive != 0 {
				t.Errorf("child is %v, %d in a row; want backoff, 0", c.State, troubleOf(c.Status).Consecutive)
			}
			run.stop(t)
		},
	})
}

// A call of ready that comes too late has no effect on later runs.
func TestSupervisorReadyTooLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls []func()
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{
			Name: "a", Background: true, Service: readyFunc(func(ctx context.Context, ready func()) error {
				if calls = append(calls, ready); len(calls) == 1 {
					return errBoom
				}
				<-ctx.Done()
				return ctx.Err()
			}),
		}}})
		run := serve(t, sup)
		synctest.Wait()
		calls[0]()
		in(t, sup, "a:backoff")
		sleep(time.Second)
		calls[0]()
		in(t, sup, "a:starting")
		calls[1]()
		calls[1]()
		in(t, sup, "a:ready")
		run.stop(t)
		calls[1]()
		in(t, sup, "a:idle")
	})
}
