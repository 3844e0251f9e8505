package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	_, err := supervisor.New(supervisor.SupervisorOptions{
		Name: "root", Strategy: 9, AutoShutdown: -1,
		Children: []supervisor.Spec{
			{Name: "a"},
			{},
			{Name: "b", Service: s.actor("b"), Restart: 5, Shutdown: -7},
			{Name: "c", Service: s.actor("c"), Significant: true},
			{Name: "d", Service: s.actor("d"), Restart: supervisor.Temporary, Significant: true},
			spec(s.actor("e")),
			spec(s.actor("e")),
		},
	})
	as[*supervisor.SpecError](t, "New", err)
	want := `supervisor "root": strategy is Strategy(9), want OneForOne, OneForAll or RestForOne
supervisor "root": auto shutdown is AutoShutdown(-1), want Never, AnySignificant or AllSignificant
supervisor "root": child "a": has no service
supervisor "root": child "number 1": has no service
supervisor "root": child "b": restart is Restart(5), want Permanent, Transient or Temporary
supervisor "root": child "b": shutdown is -7ns, want 0 or more, or Brutal
supervisor "root": child "c": is significant and permanent: only a transient or temporary child can be significant
supervisor "root": child "e": is the second child of this name`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
	_, err = supervisor.New(supervisor.SupervisorOptions{Children: []supervisor.Spec{
		{Service: s.actor("d"), Restart: supervisor.Temporary, Significant: true},
	}})
	if err == nil || !strings.Contains(err.Error(), "auto shutdown is never") {
		t.Errorf("New = %v, want it to refuse a significant child without auto shutdown", err)
	}
}

func TestSpecDefaults(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: s.actor("a")}}})
	st := sup.Status()
	if st.Name != "supervisor" || sup.String() != "supervisor" || st.Strategy != supervisor.OneForOne || st.State != supervisor.StateIdle {
		t.Errorf("status = %+v", st)
	}
	if c := st.Children[0]; c.Name != "a" || c.Restart != supervisor.Permanent || c.State != supervisor.StateIdle {
		t.Errorf("child = %+v", c)
	}
}

func TestParseStrategyAndAutoShutdown(t *testing.T) {
	t.Parallel()
	for v := supervisor.OneForOne; v <= supervisor.RestForOne; v++ {
		if got, err := supervisor.ParseStrategy(v.String()); err != nil || got != v {
			t.Errorf("ParseStrategy(%q) = %v, %v", v, got, err)
		}
	}
	for v := supervisor.Never; v <= supervisor.AllSignificant; v++ {
		if got, err := supervisor.ParseAutoShutdown(v.String()); err != nil || got != v {
			t.Errorf("ParseAutoShutdown(%q) = %v, %v", v, got, err)
		}
	}
	if _, err := supervisor.ParseStrategy("all"); err == nil || !strings.Contains(err.Error(), "one_for_one, one_for_all or rest_for_one") {
		t.Errorf("ParseStrategy: %v, want an error that names the choice", err)
	}
	if _, err := supervisor.ParseAutoShutdown("all"); err == nil || !strings.Contains(err.Error(), "never, any_significant or all_significant") {
		t.Errorf("ParseAutoShutdown: %v, want an error that names the choice", err)
	}
}

func TestSupervisorServe(t *testing.T) {
	under(t, map[string]func(*testing.T){
		"twice at once": func(t *testing.T) {
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Serve", sup.Serve(t.Context()), supervisor.ErrAlreadyServed, supervisor.ErrDoNotRestart)
			run.stop(t)
		},
		"with an ended context": func(t *testing.T) {
			s := newStage(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
			is(t, "Serve", sup.Serve(ctx), context.Canceled)
			s.saw("")
		},
		"stopped while it starts": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				spec(s.actor("a")), spec(s.actor("b", act{ready: -1})), spec(s.actor("c")),
			}})
			run := serve(t, sup)
			in(t, sup, "a:ready b:starting c:waiting")
			run.stop(t)
			s.saw("+a a! +b -b -a")
			in(t, sup, "a:idle b:idle c:idle")
		},
		"status while it stops": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				spec(s.actor("a")), spec(s.actor("b", act{linger: time.Second})),
			}})
			run := serve(t, sup)
			synctest.Wait()
			run.cancel()
			synctest.Wait()
			if got, want := sup.Status().String(), "supervisor (one_for_one) stopping\n├─ a ready\n└─ b stopping"; got != want {
				t.Errorf("status:\n%s\nwant:\n%s", got, want)
			}
			is(t, "Serve", run.wait(), context.Canceled)
		},
		"ready panics": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
			err := sup.ServeReady(t.Context(), func() { panic(errBoom) })
			as[*supervisor.PanicError](t, "Serve", err)
			s.saw("+a a! -a")
		},
		"ready is called once, when all are": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				spec(s.actor("a")), spec(s.actor("b", act{ready: time.Second})),
			}})
			var at []time.Duration
			begin := time.Now()
			run := serve(t, supervisor.ServiceFunc(func(ctx context.Context) error {
				return sup.ServeReady(ctx, func() { at = append(at, time.Since(begin)) })
			}))
			sleep(time.Hour)
			s.ends("a", returns(errBoom))
			run.stop(t)
			if len(at) != 1 || at[0] != time.Second {
				t.Errorf("ready at %v, want at 1s", at)
			}
		},
		"a child wants the end of the tree": func(t *testing.T) {
			s := newStage(t)
			inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: s.specs("b")})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), spec(inner))})
			run := serve(t, sup)
			s.saw("+a a! +b b!")
			s.ends("b", returns(fmt.Errorf("fatal: %w", supervisor.ErrTerminateTree)))
			err := run.wait()
			is(t, "Serve", err, supervisor.ErrTerminateTree)
			if got, want := err.Error(), "inner: b: fatal: "+supervisor.ErrTerminateTree.Error(); got != want {
				t.Errorf("Serve = %q, want %q", got, want)
			}
			s.saw("-b -a")
		},
	})
}

// Whatever a child does to its goroutine, and whatever its functions do, is that
// child's failure.
func TestSupervisorContainsPanics(t *testing.T) {
	nasty := errors.New("nasty")
	tests := map[string]struct {
		spec supervisor.Spec
		want string
	}{
		"Serve": {supervisor.Spec{Service: supervisor.ServiceFunc(func(context.Context) error { panic(nasty) })}, "panic: nasty"},
		"Serve, Goexit": {supervisor.Spec{Service: supervisor.ServiceFunc(func(context.Context) error {
			runtime.Goexit()
			return nil
		})}, "service ended its goroutine by runtime.Goexit"},
		"Normal": {supervisor.Spec{
			Restart: supervisor.Transient, Service: supervisor.ServiceFunc(func(context.Context) error { return nil }),
			Normal: func(error) bool { panic(nasty) },
		}, "judge the end of child: panic: nasty"},
		"Normal, Goexit": {supervisor.Spec{
			Restart: supervisor.Transient, Service: supervisor.ServiceFunc(func(context.Context) error { return errBoom }),
			Normal: func(error) bool { runtime.Goexit(); return true },
		}, "boom"},
		"Is": {supervisor.Spec{Service: supervisor.ServiceFunc(func(context.Context) error { return isPanics{} })}, "judge the end of child: panic: nasty"},
		"a panic that says it is for good": {supervisor.Spec{
			Service: supervisor.ServiceFunc(func(context.Context) error { panic(supervisor.ErrTerminateTree) }),
		}, "panic: " + supervisor.ErrTerminateTree.Error()},
	}
	cases := map[string]func(*testing.T){}
	for name, tt := range tests {
		cases[name] = func(t *testing.T) {
			s := newStage(t)
			tt.spec.Name = "child"
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), tt.spec)})
			run := serve(t, sup)
			in(t, sup, "a:ready child:backoff")
			if got := troubleOf(sup.Status().Children[1].Status).LastError; got == nil || got.Error() != tt.want {
				t.Errorf("LastError = %v, want %q", got, tt.want)
			}
			run.stop(t)
		}
	}
	under(t, cases)
}

// Nor does the panic of a child inside that could not start end the whole tree.
func TestSupervisorContainsPanicsInside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
			spec(s.actor("x", act{ready: -1, end: panics(supervisor.ErrTerminateTree)})),
		}})
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), supervisor.Spec{Service: inner, Background: true})})
		run := serve(t, sup)
		in(t, sup, "a:ready inner:backoff")
		run.stop(t)
	})
}

type isPanics struct{}

func (isPanics) Error() string { return "is panics" }
func (isPanics) Is(error) bool { panic("nasty") }

func TestSupervisorKeepsFiveErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{
			Intensity: supervisor.Intensity{MaxRestarts: 9}, Children: s.specs("a"),
		})
		run := serve(t, sup)
		synctest.Wait()
		for i := range 9 {
			s.ends("a", returns(fmt.Errorf("number %d", i)))
		}
		s.ends("a", returns(nil))
		err := as[*supervisor.IntensityError](t, "Serve", run.wait())
		if got, want := fmt.Sprint(err.Last), "[number 5 number 6 number 7 number 8 <nil>]"; got != want {
			t.Errorf("Last = %v, want %v", got, want)
		}
		if got, want := err.Error(), "supervisor gave up after 9 restarts within 1m0s: a: it returned without an error"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
		if got := len(err.Unwrap()); got != 4 {
			t.Errorf("it wraps %d errors, want 4", got)
		}
	})
}

// Events come with their path, and never hold anybody up.
func TestSupervisorEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		leaf := newSupervisor(t, supervisor.SupervisorOptions{Name: "leaf", Children: s.specs("a")})
		inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{spec(leaf)}})
		root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Children: []supervisor.Spec{spec(inner)}})
		events, full := root.Subscribe(99), root.Subscribe(1)
		run := serve(t, root)
		synctest.Wait()
		s.ends("a", explode)
		run.stop(t)
		want := []string{
			"inner: starting", "inner/leaf: starting", "inner/leaf/a: starting", "inner/leaf/a: ready", "inner/leaf: ready", "inner: ready",
			"inner/leaf/a: panicked: panic: file does not exist", "inner/leaf/a: backing-off 0s: panic: file does not exist",
			"inner/leaf/a: restarted", "inner/leaf/a: ready",
			"inner: stopping", "inner/leaf: stopping", "inner/leaf/a: stopping",
			"inner/leaf/a: exited: context canceled", "inner/leaf/a: stopped",
			"inner/leaf: exited: context canceled", "inner/leaf: stopped",
			"inner: exited: context canceled", "inner: stopped",
		}
		if diff := cmp.Diff(want, collect(events)); diff != "" {
			t.Errorf("events differ (-want +got):\n%s", diff)
		}
		if got := full.Dropped(); got != uint64(len(want)-1) {
			t.Errorf("%d dropped, want %d", got, len(want)-1)
		}
		full.Close()
	})
}

func TestSupervisorStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
			{Service: s.actor("a")}, {Service: s.actor("b", act{ready: time.Second}), Backoff: supervisor.Backoff{ResetAfter: 2 * time.Second}},
		}})
		epoch := time.Now()
		run := serve(t, sup)
		sleep(time.Second)
		s.ends("b", returns(errors.Join(errBoom, errShutdown)))
		sleep(400 * time.Millisecond)
		want := "supervisor (one_for_one) ready\n├─ a ready\n└─ b backoff, next try in 600ms: boom"
		if got := sup.Status().String(); got != want {
			t.Errorf("status:\n%s\nwant:\n%s", got, want)
		}
		c := sup.Status().Children[1]
		if c.Trouble.NextTry.Sub(epoch) != 2*time.Second || c.Trouble.LastExit.Sub(epoch) != time.Second || c.Trouble.Consecutive != 1 {
			t.Errorf("child = %+v", c)
		}
		sleep(2600*time.Millisecond - 1) // ready from the third second on
		if got := troubleOf(sup.Status().Children[1].Status).Consecutive; got != 1 {
			t.Errorf("%d failures in a row, want 1", got)
		}
		sleep(time.Second + 1)
		if got := troubleOf(sup.Status().Children[1].Status).Consecutive; got != 0 {
			t.Errorf("%d failures in a row after it was stable, want 0", got)
		}
		run.cancel()
		run.wait()
	})
}

var (
	_ suture.Service          = (*supervisor.Supervisor)(nil)
	_ suture.Service          = (*supervisor.Pool)(nil)
	_ supervisor.ReadyService = (*supervisor.Supervisor)(nil)
	_ supervisor.ReadyService = (*supervisor.Pool)(nil)
)
