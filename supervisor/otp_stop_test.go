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
	"weak"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

var everyRestart = []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary}

// Children that end by themselves, or in their own way when they are told to,
// while their supervisor stops: it stops all the same, and starts nothing.
func TestOTPStopRace(t *testing.T) {
	ends := map[string]func() error{"normal": returns(nil), "shutdown": returns(errShutdown), "other": returns(errBoom), "panic": explode}
	cases := map[string]func(*testing.T){}
	for _, restart := range everyRestart {
		for how, end := range ends {
			name := fmt.Sprintf("%v/%s", restart, how)
			cases["by itself/"+name] = func(t *testing.T) {
				s := newStage(t)
				racer := supervisor.Spec{Service: s.actor("b"), Restart: restart, Normal: normalShutdown, Backoff: eager}
				last := spec(s.actor("c", act{linger: time.Second})) // it holds up the stop of b
				sup := newSupervisor(t, supervisor.SupervisorOptions{
					Intensity: supervisor.Intensity{MaxRestarts: -1}, Children: append(s.specs("a"), racer, last),
				})
				run := serve(t, sup)
				synctest.Wait()
				run.cancel()
				in(t, sup, "a:ready b:ready c:stopping")
				s.ends("b", end)
				run.stop(t) // and not an *IntensityError
				s.saw("+a a! +b b! +c c! -b -c -a")
			}
			cases["as told/"+name] = func(t *testing.T) {
				s := newStage(t)
				child := supervisor.Spec{Name: "b", Service: endsAsTold(end), Restart: restart, Normal: normalShutdown, Backoff: eager}
				sup := newSupervisor(t, supervisor.SupervisorOptions{
					Intensity: supervisor.Intensity{MaxRestarts: -1}, Children: append(s.specs("a"), child, s.specs("c")[0]),
				})
				events := sup.Subscribe(99)
				run := serve(t, sup)
				synctest.Wait()
				run.stop(t)
				s.saw("+a a! +c c! -c -a")
				in(t, sup, "a:idle b:idle c:idle")
				got := strings.Join(collect(events), "\n")
				if want := "b: stopping\nb: exited"; how != "panic" && !strings.Contains(got, want) {
					t.Errorf("events:\n%s\nwant in them:\n%s", got, want)
				}
				if how == "other" && !strings.Contains(got, "b: exited: boom\nb: stopped") {
					t.Errorf("events:\n%s\nthey do not tell the error of b's end", got)
				}
			}
			cases["in a pool, as told/"+name] = func(t *testing.T) {
				pool, err := supervisor.NewPool(supervisor.PoolOptions{
					Restart: restart, Normal: normalShutdown, Backoff: eager, Intensity: supervisor.Intensity{MaxRestarts: -1},
				})
				is(t, "NewPool", err)
				run := serve(t, pool)
				synctest.Wait()
				for range 3 {
					_, err := pool.Start(t.Context(), endsAsTold(end))
					is(t, "Start", err)
				}
				run.stop(t)
				in(t, pool, "")
			}
		}
	}
	cases["in a pool, brutal"] = func(t *testing.T) {
		s := newStage(t)
		pool, err := supervisor.NewPool(supervisor.PoolOptions{Shutdown: supervisor.Brutal, Restart: supervisor.Temporary})
		is(t, "NewPool", err)
		run := serve(t, pool)
		synctest.Wait()
		for i := range 10 {
			_, err := pool.Start(t.Context(), s.actor(fmt.Sprint(i), act{linger: time.Hour}))
			is(t, "Start", err)
		}
		begin := time.Now()
		run.stop(t)
		if got := time.Since(begin); got != 100*time.Millisecond {
			t.Errorf("stop took %v, want 100ms for all together", got)
		}
		if got := len(pool.Abandoned()); got != 10 {
			t.Errorf("%d abandoned, want 10", got)
		}
		sleep(time.Hour)
	}
	under(t, cases)
}

// endsAsTold runs until it is told to stop, and then ends so.
func endsAsTold(end func() error) supervisor.ServiceFunc {
	return func(ctx context.Context) error {
		<-ctx.Done()
		return end()
	}
}

// A nested supervisor's start fails by a panic: all of the tree fails, and its
// error leads to the panic.
func TestOTPFaultyApplication(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
			spec(s.actor("x")), spec(s.actor("y", act{ready: -1, run: 1, end: explode})),
		}})
		root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Children: append(s.specs("a"), spec(inner), s.specs("z")[0])})
		err := root.Serve(t.Context())
		s.saw("+a a! +x x! +y -y -x -a")
		outer := as[*supervisor.StartError](t, "Serve", err)
		if outer.Supervisor != "root" || outer.Child != "inner" {
			t.Errorf("Serve = %+v, want it to name inner in root", outer)
		}
		if cause := as[*supervisor.StartError](t, "its cause", outer.Err); cause.Supervisor != "inner" || cause.Child != "y" {
			t.Errorf("its cause = %+v, want it to name y in inner", cause)
		}
		if p := as[*supervisor.PanicError](t, "Serve", err); !strings.Contains(string(p.Stack), "explode") {
			t.Errorf("the stack does not lead to the panic:\n%s", p.Stack)
		}
	})
}

// A service that somebody else serves already is not served twice.
func TestOTPAlreadyStartedOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		shared := newSupervisor(t, supervisor.SupervisorOptions{Name: "shared", Children: s.specs("x")})
		outside := serve(t, shared)
		synctest.Wait()
		sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
		run := serve(t, sup)
		synctest.Wait()
		_ = sup.Add(t.Context(), spec(shared))
		in(t, sup, "a:ready shared:ended") // and not started again and again
		if st := sup.Status().Children; len(st) == 2 {
			is(t, "LastError", troubleOf(st[1].Status).LastError, supervisor.ErrAlreadyServed)
		}
		run.stop(t)
		in(t, shared, "x:ready")
		outside.stop(t)
		s.saw("+x x! +a a! -a -x")
	})
}

// What is gone is not held on to: a child's service, and all that hangs on it,
// can be collected when the child was deleted or, as a temporary one, has ended.
func TestOTPForgetsWhatIsGone(t *testing.T) {
	type heavy struct {
		supervisor.Service
		_ [1 << 16]byte
	}
	once := func(ctx context.Context) error { return errBoom }
	forgotten := func(t *testing.T, p weak.Pointer[heavy]) {
		t.Helper()
		sleep(time.Minute) // the runtime keeps timers for a while that were stopped
		for range 3 {      // what was on a stack may take a second collection
			runtime.GC()
		}
		if p.Value() != nil {
			t.Error("the service of a child that is gone is still held")
		}
	}
	under(t, map[string]func(*testing.T){
		"temporary, ended": func(t *testing.T) {
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			synctest.Wait()
			svc := &heavy{Service: supervisor.ServiceFunc(once)}
			p := weak.Make(svc)
			is(t, "Add", sup.Add(t.Context(), supervisor.Spec{Name: "a", Service: svc, Restart: supervisor.Temporary}))
			svc = nil
			forgotten(t, p)
			run.stop(t)
			runtime.KeepAlive(sup)
		},
		"deleted": func(t *testing.T) {
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			run := serve(t, sup)
			synctest.Wait()
			svc := &heavy{Service: supervisor.ServiceFunc(func(ctx context.Context) error { <-ctx.Done(); return nil })}
			p := weak.Make(svc)
			is(t, "Add", sup.Add(t.Context(), supervisor.Spec{Name: "a", Service: svc}))
			svc = nil
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			is(t, "Delete", sup.Delete("a"))
			forgotten(t, p)
			run.stop(t)
			runtime.KeepAlive(sup)
		},
		"of a pool": func(t *testing.T) {
			pool, err := supervisor.NewPool(supervisor.PoolOptions{Restart: supervisor.Temporary})
			is(t, "NewPool", err)
			run := serve(t, pool)
			synctest.Wait()
			svc := &heavy{Service: supervisor.ServiceFunc(once)}
			p := weak.Make(svc)
			_, err = pool.Start(t.Context(), svc)
			is(t, "Start", err)
			svc = nil
			forgotten(t, p)
			run.stop(t)
			runtime.KeepAlive(pool)
		},
	})
}

// All combinations of what a spec can say, as far as they have to do with each
// other: from the start and by Add.
func TestOTPChildSpecs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refused := 0
		for _, auto := range []supervisor.AutoShutdown{supervisor.Never, supervisor.AnySignificant, supervisor.AllSignificant} {
			for _, restart := range everyRestart {
				for _, shutdown := range []time.Duration{0, time.Second, supervisor.Infinite, supervisor.Brutal, -2} {
					for _, significant := range []bool{false, true} {
						sp := supervisor.Spec{Name: "a", Service: endsAsTold(returns(nil)), Restart: restart, Shutdown: shutdown, Significant: significant}
						bad := shutdown == -2 || significant && (restart == supervisor.Permanent || auto == supervisor.Never)
						_, err := supervisor.New(supervisor.SupervisorOptions{AutoShutdown: auto, Children: []supervisor.Spec{sp}})
						added := newSupervisor(t, supervisor.SupervisorOptions{AutoShutdown: auto}).Add(t.Context(), sp)
						for what, err := range map[string]error{"New": err, "Add": added} {
							var specError *supervisor.SpecError
							if errors.As(err, &specError) != bad {
								t.Errorf("%s with %v, %v, shutdown %v, significant %v: %v", what, auto, restart, shutdown, significant, err)
							}
						}
						if bad {
							refused++
						}
					}
				}
			}
		}
		if refused != 38 {
			t.Errorf("%d refused, want 38", refused)
		}
	})
}
