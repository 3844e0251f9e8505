package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// The behaviours of OTP's supervisor_SUITE, written anew. Left is the case of
// that suite (OTP 28), right the test here, or why it has no meaning in Go.
// "Shutdown" is an error that Spec.Normal takes for normal, as OTP takes the
// reason shutdown.
//
//	sup_start_normal                             TestOTPStart/normal
//	sup_start_ignore_init                        - there is no init function that could say so
//	sup_start_ignore_child                       TestOTPStart/ignore
//	sup_start_ignore_temporary_child             TestOTPStart/ignore temporary
//	sup_start_ignore_temporary_child_start_child TestOTPStart/ignore temporary, added
//	  ..._start_child_simple (temporary)         TestOTPStart/ignore in a pool
//	sup_start_ignore_permanent_child_..._simple  TestOTPStart/ignore in a pool
//	sup_start_error_return, sup_start_fail       TestOTPStart/fails, /panics, /ends; - init as above
//	sup_start_child_returns_error                TestOTPChildAdm/add fails, TestOTPStart/fails half-way
//	sup_start_restart_child_returns_error        TestOTPChildAdm/restart fails
//	sup_start_child_returns_error_simple         TestOTPPool/adm
//	sup_start_map, sup_start_map_simple          TestSpecDefaults, TestOTPStop/default timeout
//	sup_start_map_faulty_specs                   TestNewRefuses; - the compiler refuses most
//	sup_stop_infinity                            TestOTPStop/infinite
//	sup_stop_timeout                             TestOTPStop/timeout
//	sup_stop_timeout_dynamic                     TestOTPPool/shutdown
//	sup_stop_brutal_kill                         TestOTPStop/brutal
//	sup_stop_brutal_kill_dynamic                 TestOTPStopRace/in a pool, brutal
//	sup_stop_race                                TestOTPStopRace/by itself
//	sup_stop_non_shutdown_exit_dynamic           TestOTPStopRace/in a pool, as told
//	child_adm                                    TestOTPChildAdm/error table, /not served
//	child_adm_simple                             TestOTPPool/adm
//	extra_return                                 TestOTPChildAdm/error table; - a start returns no value
//	child_specs, child_specs_map                 TestOTPChildSpecs, TestNewRefuses
//	sup_flags                                    TestNewRefuses; - any Intensity means something
//	external_start_no_progress_log               - there is no log; TestSupervisorEvents has the events
//	permanent_normal, _shutdown, _abnormal       TestOTPTermination/permanent
//	transient_normal, _shutdown, _abnormal       TestOTPTermination/transient
//	temporary_normal, _shutdown, _abnormal       TestOTPTermination/temporary
//	faulty_application_shutdown                  TestOTPFaultyApplication
//	temporary_bystander                          TestOTPTemporaryBystander
//	multiple_restarts                            TestOTPMultipleRestarts, TestOTPIntensityPeriod
//	one_for_one, one_for_all, rest_for_one       TestOTPRestart
//	  their restart frequency                    TestOTPEscalation
//	one_for_one_escalation                       TestOTPEscalationByFailedStarts/one_for_one
//	one_for_all_escalation                       TestOTPEscalationByFailedStarts/one_for_all
//	rest_for_one_escalation                      TestOTPEscalationByFailedStarts/rest_for_one
//	simple_one_for_one_escalation                TestOTPEscalationByFailedStarts/pool
//	one_for_all_other_child_fails_restart        TestOTPOtherChildFailsRestart/one_for_all
//	rest_for_one_other_child_fails_restart       TestOTPOtherChildFailsRestart/rest_for_one
//	simple_one_for_one                           TestOTPPool/restart, /escalation
//	simple_one_for_one_restart_ignore            TestOTPCountChildren/a restart that is ignored
//	simple_one_for_one_shutdown                  TestOTPPool/shutdown
//	simple_one_for_one_extra                     TestOTPPool/restart; - a start returns no value
//	simple_one_for_one_corruption                TestOTPForgetsWhatIsGone/of a pool
//	simple_one_for_one_scale_many_temporary_...  TestOTPScale/pool
//	child_unlink                                 TestSupervisorAbandons/at terminate
//	tree                                         TestOTPTree, TestOTPCountChildren/in a tree
//	count_children                               TestOTPCountChildren/workers
//	count_children_supervisor                    TestOTPCountChildren/supervisors
//	count_restarting_children                    TestOTPCountChildren/while some restart
//	get_callback_module                          - there is none
//	do_not_save_start_parameters_for_temporary.. TestOTPForgetsWhatIsGone/temporary, ended
//	do_not_save_child_specs_for_temporary_...    TestOTPTemporaryIsForgotten
//	simple_global_supervisor                     TestOTPTree; - there are no global names
//	hanging_restart_loop                         TestOTPHangingRestartLoop, TestOTPStopInRestartLoop
//	hanging_restart_loop_rest_for_one            the same, /rest_for_one
//	hanging_restart_loop_simple                  TestOTPHangingRestartLoop/pool
//	code_change, _map, _simple, _simple_map      - code is not changed while it runs; what can be set then
//	                                               is in TestSupervisorAdmin/settings
//	order_of_children                            TestOTPOrderOfChildren
//	scale_start_stop_many_children               TestOTPScale; its time is in the benchmarks
//	format_log_1, format_log_2                   - there is no log; TestSupervisorEvents has Event.String
//	already_started_outside_supervisor           TestOTPAlreadyStartedOutside
//	which_children                               TestOTPChildAdm/error table, TestOTPOrderOfChildren
//	which_children_simple_one_for_one            TestOTPPool/adm
//	nonsignificant_temporary, _transient         TestOTPNonsignificant
//	significant_temporary, significant_transient TestOTPAutoShutdown
//	significant_simple                           - a pool has no AutoShutdown
//	significant_bystander                        TestOTPSignificantBystander, TestOTPAutoShutdown/not by a sibling
//	significant_escalation                       TestOTPAutoShutdown/up the tree,
//	                                               TestOTPSignificantRestOfSuite/up the tree, but not into ...
//	significant_upgrade_* (7 cases)              - as code_change: AutoShutdown and Significant are for life

var errShutdown = errors.New("shutdown")

func normalShutdown(err error) bool { return err == nil || errors.Is(err, errShutdown) }

func TestOTPStart(t *testing.T) {
	under(t, map[string]func(*testing.T){
		"normal": func(t *testing.T) {
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			in(t, sup, "")
			run.stop(t)
		},
		"in order, each when the one before is ready": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				spec(s.actor("a", act{ready: time.Second})), spec(s.actor("b", act{ready: time.Second})), spec(s.actor("c")),
			}})
			run := serve(t, sup)
			in(t, sup, "a:starting b:waiting c:waiting")
			sleep(time.Second)
			in(t, sup, "a:ready b:starting c:waiting")
			if got := sup.Status().State; got != supervisor.StateStarting {
				t.Errorf("supervisor is %v, want starting", got)
			}
			sleep(time.Second)
			in(t, sup, "a:ready b:ready c:ready")
			if got := sup.Status().State; got != supervisor.StateReady {
				t.Errorf("supervisor is %v, want ready", got)
			}
			run.stop(t)
			s.saw("+a a! +b b! +c c! -c -b -a")
		},
		"not in the background": func(t *testing.T) {
			s := newStage(t)
			slow := spec(s.actor("a", act{ready: time.Second}))
			slow.Background = true
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append([]supervisor.Spec{slow}, s.specs("b")...)})
			run := serve(t, sup)
			in(t, sup, "a:starting b:ready")
			sleep(time.Second)
			run.stop(t)
			in(t, sup, "a:idle b:idle")
		},
		"ignore": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				spec(s.actor("a", act{ready: -1, end: returns(supervisor.ErrDoNotRestart)})), spec(s.actor("b")),
			}})
			run := serve(t, sup)
			in(t, sup, "a:ended b:ready")
			run.stop(t)
		},
		"ignore temporary": func(t *testing.T) {
			s := newStage(t)
			once := spec(s.actor("a", act{ready: -1, end: returns(nil)}))
			once.Restart = supervisor.Temporary
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append([]supervisor.Spec{once}, s.specs("b")...)})
			run := serve(t, sup)
			in(t, sup, "a:ended b:ready") // it stays, for the next Serve
			run.stop(t)
			in(t, sup, "a:ended b:idle")
		},
		"ignore temporary, added": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("b")})
			run := serve(t, sup)
			synctest.Wait()
			once := spec(s.actor("a", act{ready: -1, end: returns(nil)}))
			once.Restart = supervisor.Temporary
			is(t, "Add", sup.Add(t.Context(), once))
			in(t, sup, "b:ready")
			run.stop(t)
		},
		"ignore in a pool": func(t *testing.T) {
			s := newStage(t)
			pool, _ := supervisor.NewPool(supervisor.PoolOptions{})
			run := serve(t, pool)
			synctest.Wait()
			_, err := pool.Start(t.Context(), s.actor("a", act{ready: -1, end: returns(supervisor.ErrDoNotRestart)}))
			is(t, "Start", err)
			_, err = pool.Start(t.Context(), s.actor("b"))
			is(t, "Start", err)
			in(t, pool, "pool-2:ready")
			run.stop(t)
		},
		"fails": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(s.actor("a", act{ready: -1, end: returns(errBoom)}))}})
			err := as[*supervisor.StartError](t, "Serve", sup.Serve(t.Context()))
			is(t, "Serve", err, errBoom)
			if got, want := err.Error(), "start a in supervisor: boom"; got != want {
				t.Errorf("Error() = %q, want %q", got, want)
			}
		},
		"ends": func(t *testing.T) { // a permanent one, by returning nil
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(s.actor("a", act{ready: -1, end: returns(nil)}))}})
			err := as[*supervisor.StartError](t, "Serve", sup.Serve(t.Context()))
			if got, want := err.Error(), "start a in supervisor: it ended before it was ready"; got != want {
				t.Errorf("Error() = %q, want %q", got, want)
			}
		},
		"panics": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(s.actor("a", act{ready: -1, end: explode}))}})
			err := sup.Serve(t.Context())
			as[*supervisor.StartError](t, "Serve", err)
			as[*supervisor.PanicError](t, "Serve", err)
		},
		"fails half-way": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(
				s.specs("a", "b"),
				spec(s.actor("c", act{ready: -1, run: time.Second, end: returns(errBoom)})),
				spec(s.actor("d")),
			)})
			as[*supervisor.StartError](t, "Serve", sup.Serve(t.Context()))
			s.saw("+a a! +b b! +c -c -b -a")
			in(t, sup, "a:idle b:idle c:ended d:idle")
			run := serve(t, sup) // may be served again, and then works
			s.saw("+a a! +b b! +c c! +d d!")
			run.stop(t)
		},
		"in the background does not fail": func(t *testing.T) {
			s := newStage(t)
			flaky := supervisor.Spec{Service: s.actor("a", act{ready: -1, end: returns(errBoom)}), Background: true}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{flaky}})
			run := serve(t, sup)
			in(t, sup, "a:backoff")
			sleep(time.Second)
			in(t, sup, "a:ready")
			run.stop(t)
		},
	})
}

func TestOTPStop(t *testing.T) {
	linger := func(d, shutdown time.Duration) func(*testing.T, *stage) supervisor.Spec {
		return func(t *testing.T, s *stage) supervisor.Spec {
			sp := spec(s.actor("b", act{linger: d}))
			sp.Shutdown = shutdown
			return sp
		}
	}
	type test struct {
		spec      func(*testing.T, *stage) supervisor.Spec
		takes     time.Duration
		abandoned int
	}
	tests := map[string]test{
		"default":                  {linger(4*time.Second, 0), 4 * time.Second, 0},
		"default timeout":          {linger(time.Hour, 0), 5 * time.Second, 1},
		"timeout":                  {linger(time.Hour, time.Second), time.Second, 1},
		"in time":                  {linger(time.Second-1, time.Second), time.Second - 1, 0},
		"infinite":                 {linger(time.Hour, supervisor.Infinite), time.Hour, 0},
		"brutal":                   {linger(time.Hour, supervisor.Brutal), 100 * time.Millisecond, 1},
		"brutal, but it is polite": {linger(0, supervisor.Brutal), 0, 0},
		"a supervisor": {func(t *testing.T, s *stage) supervisor.Spec {
			slow := spec(s.actor("x", act{linger: time.Hour}))
			slow.Shutdown = supervisor.Infinite
			return spec(newSupervisor(t, supervisor.SupervisorOptions{Name: "b", Children: []supervisor.Spec{slow}}))
		}, time.Hour, 0},
	}
	cases := map[string]func(*testing.T){}
	for name, tt := range tests {
		cases[name] = func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				s.specs("a")[0], tt.spec(t, s), s.specs("c")[0],
			}})
			run := serve(t, sup)
			synctest.Wait()
			begin := time.Now()
			run.stop(t)
			if got := time.Since(begin); got != tt.takes {
				t.Errorf("stop took %v, want %v", got, tt.takes)
			}
			if got := sup.Abandoned(); len(got) != tt.abandoned || sup.Status().Abandoned != tt.abandoned {
				t.Errorf("abandoned: %v, %d; want %d", got, sup.Status().Abandoned, tt.abandoned)
			}
			sleep(2 * time.Hour)
			if got := sup.Abandoned(); got != nil {
				t.Errorf("abandoned after they have ended: %v", got)
			}
		}
	}
	cases["not by its context alone"] = func(t *testing.T) {
		// The children get a context of their own: were it Serve's, all would
		// stop at once.
		type key struct{}
		var got any
		first := make(chan struct{})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			{Name: "first", Service: supervisor.ServiceFunc(func(ctx context.Context) error {
				got = ctx.Value(key{})
				<-ctx.Done()
				close(first)
				return nil
			})},
			{Name: "second", Service: supervisor.ServiceFunc(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				select {
				case <-first:
					t.Error("first was stopped before second had ended")
				default:
				}
				return nil
			})},
		}})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		time.AfterFunc(time.Second, cancel)
		is(t, "Serve", sup.Serve(ctx), context.Canceled)
		if got != "value" {
			t.Errorf("a child's context has %v, want the values of Serve's", got)
		}
	}
	under(t, cases)
}

func TestOTPTermination(t *testing.T) {
	cases := map[string]func(*testing.T){}
	restarted, ended := "+a a! -a +a a!", "+a a! -a"
	for _, tt := range []struct {
		restart                           supervisor.Restart
		normal, shutdown, abnormal, panic string
	}{
		{supervisor.Permanent, restarted, restarted, restarted, restarted},
		{supervisor.Transient, ended, ended, restarted, restarted},
		{supervisor.Temporary, ended, ended, ended, ended},
	} {
		for _, end := range []struct {
			name, want string
			end        func() error
		}{
			{"normal", tt.normal, returns(nil)},
			{"shutdown", tt.shutdown, returns(fmt.Errorf("over: %w", errShutdown))},
			{"abnormal", tt.abnormal, returns(errBoom)},
			{"panic", tt.panic, explode},
			{"not again", ended, returns(fmt.Errorf("over: %w", supervisor.ErrDoNotRestart))},
		} {
			cases[fmt.Sprintf("%s/%s", tt.restart, end.name)] = func(t *testing.T) {
				s := newStage(t)
				sup := newSupervisor(t, supervisor.SupervisorOptions{})
				run := serve(t, sup)
				synctest.Wait()
				sp := spec(s.actor("a"))
				sp.Restart, sp.Normal = tt.restart, normalShutdown
				is(t, "Add", sup.Add(t.Context(), sp))
				s.ends("a", end.end)
				s.saw(end.want)
				switch {
				case end.want == restarted:
					in(t, sup, "a:ready")
				case tt.restart == supervisor.Temporary:
					in(t, sup, "")
				default:
					in(t, sup, "a:ended")
				}
				run.stop(t)
			}
		}
	}
	cases["panic in a nested supervisor"] = func(t *testing.T) {
		s := newStage(t)
		inner := newSupervisor(t, supervisor.SupervisorOptions{
			Name: "inner", Intensity: supervisor.Intensity{MaxRestarts: -1},
			Children: []supervisor.Spec{spec(s.actor("a"))},
		})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(inner)}})
		run := serve(t, sup)
		synctest.Wait()
		s.ends("a", explode)
		s.saw("+a a! -a +a a!")
		err := as[*supervisor.IntensityError](t, "LastError", troubleOf(sup.Status().Children[0].Status).LastError)
		as[*supervisor.PanicError](t, "LastError", err)
		run.stop(t)
	}
	under(t, cases)
}
