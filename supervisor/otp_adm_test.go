package supervisor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// The error table of start_child, restart_child, terminate_child, delete_child.
func TestOTPChildAdm(t *testing.T) {
	ops := func(sup *supervisor.Supervisor, sp supervisor.Spec) map[string]error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what does not answer at once gives context.Canceled
		return map[string]error{
			"delete":  sup.Delete("a"),
			"restart": sup.Restart(ctx, "a"),
			"add":     sup.Add(ctx, sp),
		}
	}
	type table map[string]error
	tests := map[string]struct {
		acts    []act
		prepare func(t *testing.T, s *stage, sup *supervisor.Supervisor)
		want    table
	}{
		"running": {nil, nil, table{"add": supervisor.ErrAlreadyStarted, "restart": supervisor.ErrRunning, "delete": supervisor.ErrRunning}},
		"starting": {[]act{{ready: -1}}, nil, table{
			"add": supervisor.ErrAlreadyStarted, "restart": supervisor.ErrRunning, "delete": supervisor.ErrRunning,
		}},
		"stopping": {[]act{{linger: time.Second}}, func(t *testing.T, s *stage, sup *supervisor.Supervisor) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			is(t, "Terminate", sup.Terminate(ctx, "a"), context.Canceled)
		}, table{"add": supervisor.ErrAlreadyStarted, "restart": supervisor.ErrRunning, "delete": supervisor.ErrRunning}},
		"restarting": {nil, func(t *testing.T, s *stage, sup *supervisor.Supervisor) {
			s.ends("a", returns(errBoom))
			in(t, sup, "a:backoff")
		}, table{"add": supervisor.ErrAlreadyStarted, "delete": supervisor.ErrRestarting, "restart": nil}},
	}
	cases := map[string]func(*testing.T){}
	for name, tt := range tests {
		cases["error table/"+name] = func(t *testing.T) {
			s := newStage(t)
			sp := supervisor.Spec{Service: s.actor("a", tt.acts...)}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{sp}})
			run := serve(t, sup)
			synctest.Wait()
			if tt.prepare != nil {
				tt.prepare(t, s, sup)
			}
			if name == "restarting" {
				is(t, "Delete", sup.Delete("a"), supervisor.ErrRestarting)
				is(t, "Add", sup.Add(t.Context(), sp), supervisor.ErrAlreadyStarted)
				is(t, "Restart", sup.Restart(t.Context(), "a")) // OTP: restarting; ours cuts the delay
				in(t, sup, "a:ready")
			} else {
				for op, err := range ops(sup, sp) {
					is(t, op, err, tt.want[op])
				}
			}
			run.stop(t)
		}
	}
	cases["error table"] = func(t *testing.T) {
		s := newStage(t)
		ctx := t.Context()
		sup := newSupervisor(t, supervisor.SupervisorOptions{})
		run := serve(t, sup)
		synctest.Wait()
		sp := spec(s.actor("a"))
		is(t, "Add", sup.Add(ctx, sp))
		is(t, "Add again", sup.Add(ctx, sp), supervisor.ErrAlreadyStarted)
		is(t, "Terminate", sup.Terminate(ctx, "a"))
		in(t, sup, "a:idle")
		is(t, "Terminate again", sup.Terminate(ctx, "a"))
		is(t, "Add the terminated", sup.Add(ctx, sp), supervisor.ErrAlreadyPresent)
		is(t, "Restart", sup.Restart(ctx, "a"))
		in(t, sup, "a:ready")
		is(t, "Restart again", sup.Restart(ctx, "a"), supervisor.ErrRunning)
		is(t, "Delete", sup.Delete("a"), supervisor.ErrRunning)
		is(t, "Terminate", sup.Terminate(ctx, "a"))
		is(t, "Delete", sup.Delete("a"))
		in(t, sup, "")
		is(t, "Delete again", sup.Delete("a"), supervisor.ErrNotFound)
		is(t, "Restart", sup.Restart(ctx, "a"), supervisor.ErrNotFound)
		is(t, "Terminate", sup.Terminate(ctx, "a"), supervisor.ErrNotFound)
		is(t, "SetBackoff", sup.SetBackoff("a", eager), supervisor.ErrNotFound)
		as[*supervisor.SpecError](t, "Add", sup.Add(ctx, supervisor.Spec{Name: "a"}))
		is(t, "Add", sup.Add(ctx, sp)) // it is gone, so that this is another
		run.stop(t)
		s.saw("+a a! -a +a a! -a +a a! -a")
	}
	cases["not served"] = func(t *testing.T) {
		s := newStage(t)
		ctx := t.Context()
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
		is(t, "Add", sup.Add(ctx, spec(s.actor("b"))))
		is(t, "Add again", sup.Add(ctx, spec(s.actor("b"))), supervisor.ErrAlreadyPresent)
		is(t, "Restart", sup.Restart(ctx, "a"), supervisor.ErrNotServed)
		is(t, "Terminate", sup.Terminate(ctx, "a"))
		is(t, "Delete", sup.Delete("a"))
		run := serve(t, sup)
		in(t, sup, "b:ready")
		run.stop(t)
		is(t, "Delete", sup.Delete("b"))
	}
	cases["add fails"] = func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{})
		run := serve(t, sup)
		synctest.Wait()
		err := sup.Add(t.Context(), spec(s.actor("a", act{ready: -1, run: time.Second, end: returns(errBoom)})))
		as[*supervisor.StartError](t, "Add", err)
		in(t, sup, "")
		run.stop(t)
	}
	cases["restart fails"] = func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			spec(s.actor("a", act{}, act{ready: -1, end: returns(errBoom)})),
		}})
		run := serve(t, sup)
		synctest.Wait()
		is(t, "Terminate", sup.Terminate(t.Context(), "a"))
		as[*supervisor.StartError](t, "Restart", sup.Restart(t.Context(), "a"))
		in(t, sup, "a:idle") // as it was
		is(t, "Restart", sup.Restart(t.Context(), "a"))
		in(t, sup, "a:ready")
		run.stop(t)
	}
	cases["a cut delay, and it fails"] = func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			{Service: s.actor("a", act{}, act{ready: -1, run: 1, end: returns(errBoom)})},
		}})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("a", returns(errBoom))
		as[*supervisor.StartError](t, "Restart", sup.Restart(t.Context(), "a"))
		in(t, sup, "a:backoff") // for 2 s
		sleep(2*time.Second - 2)
		in(t, sup, "a:backoff")
		sleep(2)
		in(t, sup, "a:ready")
		run.stop(t)
	}
	under(t, cases)
}
