package supervisor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// counts gives the number of children, of those that run, and of supervisors.
func counts(s reporter) (all, active, supervisors int) {
	for _, c := range s.Status().Children {
		all++
		if c.State == supervisor.StateReady {
			active++
		}
		if c.Inside != nil {
			supervisors++
		}
	}
	return all, active, supervisors
}

func counted(t *testing.T, s reporter, all, active, supervisors int) {
	t.Helper()
	synctest.Wait()
	if a, b, c := counts(s); a != all || b != active || c != supervisors {
		t.Errorf("%d children, %d active, %d supervisors; want %d, %d, %d", a, b, c, all, active, supervisors)
	}
}

func TestOTPCountChildren(t *testing.T) {
	started := func(t *testing.T, o supervisor.PoolOptions) (*supervisor.Pool, *running) {
		pool, err := supervisor.NewPool(o)
		is(t, "NewPool", err)
		run := serve(t, pool)
		synctest.Wait()
		return pool, run
	}
	under(t, map[string]func(*testing.T){
		"workers": func(t *testing.T) {
			pool, run := started(t, supervisor.PoolOptions{Restart: supervisor.Temporary})
			end := make(chan struct{})
			for n := 1000; n <= 2000; n += 1000 {
				for range 1000 {
					_, err := pool.Start(t.Context(), supervisor.ServiceFunc(func(context.Context) error { <-end; return errBoom }))
					is(t, "Start", err)
				}
				counted(t, pool, n, n, 0)
			}
			close(end)
			counted(t, pool, 0, 0, 0)
			run.stop(t)
		},
		"supervisors": func(t *testing.T) {
			pool, run := started(t, supervisor.PoolOptions{Restart: supervisor.Temporary})
			for range 100 {
				_, err := pool.Start(t.Context(), newSupervisor(t, supervisor.SupervisorOptions{}))
				is(t, "Start", err)
			}
			counted(t, pool, 100, 100, 100)
			run.stop(t)
			counted(t, pool, 0, 0, 0)
		},
		"while some restart": func(t *testing.T) {
			s := newStage(t)
			pool, run := started(t, supervisor.PoolOptions{})
			var kids []*supervisor.PoolChild
			for _, name := range []string{"a", "b", "c"} {
				c, err := pool.Start(t.Context(), s.actor(name))
				is(t, "Start", err)
				kids = append(kids, c)
			}
			s.ends("a", returns(errBoom))
			s.ends("b", returns(errBoom))
			counted(t, pool, 3, 1, 0)
			sleep(time.Second)
			counted(t, pool, 3, 3, 0)
			for i, c := range kids {
				is(t, "Stop", pool.Stop(t.Context(), c))
				counted(t, pool, 2-i, 2-i, 0)
			}
			run.stop(t)
		},
		// simple_one_for_one_restart_ignore
		"a restart that is ignored": func(t *testing.T) {
			for _, restart := range everyRestart[:2] {
				s := newStage(t)
				pool, run := started(t, supervisor.PoolOptions{Restart: restart, Backoff: eager})
				_, err := pool.Start(t.Context(), s.actor("a", act{}, act{}, act{ready: -1, end: returns(supervisor.ErrDoNotRestart)}))
				is(t, "Start", err)
				s.ends("a", explode)
				counted(t, pool, 1, 1, 0)
				s.ends("a", explode)
				counted(t, pool, 0, 0, 0)
				s.saw("+a a! -a +a a! -a +a -a")
				run.stop(t)
			}
		},
		// tree: a supervisor inside is started anew, with what was added to it,
		// where OTP forgets that.
		"in a tree": func(t *testing.T) {
			s := newStage(t)
			left := newSupervisor(t, supervisor.SupervisorOptions{Name: "left", Children: s.specs("a", "b")})
			right := newSupervisor(t, supervisor.SupervisorOptions{Name: "right", Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Hour}})
			spare := newSupervisor(t, supervisor.SupervisorOptions{Name: "spare"})
			root := newSupervisor(t, supervisor.SupervisorOptions{
				Strategy: supervisor.OneForAll, Children: []supervisor.Spec{spec(left), spec(right), spec(spare)},
			})
			run := serve(t, root)
			synctest.Wait()
			is(t, "Terminate", root.Terminate(t.Context(), "spare"))
			counted(t, root, 3, 2, 3)
			is(t, "Add", right.Add(t.Context(), spec(s.actor("c"))))
			s.ends("c", returns(errBoom))
			counted(t, right, 1, 1, 0)
			s.saw("+a a! +b b! +c c! -c +c c!")
			s.ends("c", returns(errBoom)) // right gives up, and all start anew
			s.saw("-c -b -a +a a! +b b! +c c!")
			in(t, root, "left:ready right:ready spare:idle") // terminated is terminated; OTP starts it
			run.stop(t)
		},
	})
}

// A child that fails whenever it is started again uses up the intensity, and
// its supervisor stops the others.
func TestOTPEscalationByFailedStarts(t *testing.T) {
	loop := []act{{}}
	for range 10 {
		loop = append(loop, act{ready: -1, end: returns(errBoom)})
	}
	limit := supervisor.Intensity{MaxRestarts: 4, Within: time.Hour}
	cases := map[string]func(*testing.T){}
	for _, st := range everyStrategy {
		cases[st.String()] = func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Strategy: st, Intensity: limit, Children: []supervisor.Spec{spec(s.actor("a", loop...)), spec(s.actor("b"))},
			})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			err := as[*supervisor.IntensityError](t, "Serve", run.wait())
			if len(err.Last) != 5 {
				t.Errorf("%d last errors, want 5: the run that failed, and 4 starts", len(err.Last))
			}
			want := "+a a! +b b! -a" + strings.Repeat(" +a -a", 4) + " -b"
			if st != supervisor.OneForOne { // b stops before a is started again
				want = "+a a! +b b! -a -b" + strings.Repeat(" +a -a", 4)
			}
			s.saw(want)
		}
	}
	cases["pool"] = func(t *testing.T) {
		s := newStage(t)
		pool, err := supervisor.NewPool(supervisor.PoolOptions{Backoff: eager, Intensity: limit})
		is(t, "NewPool", err)
		run := serve(t, pool)
		synctest.Wait()
		for name, acts := range map[string][]act{"a": loop, "b": nil} {
			_, err := pool.Start(t.Context(), s.actor(name, acts...))
			is(t, "Start", err)
		}
		s.ends("a", returns(errBoom))
		as[*supervisor.IntensityError](t, "Serve", run.wait())
		in(t, pool, "")
	}
	under(t, cases)
}

// A supervisor can be stopped while a child loops in its restarts.
func TestOTPStopInRestartLoop(t *testing.T) {
	loop := []act{{}}
	for range 100 {
		loop = append(loop, act{ready: -1, run: time.Second, end: returns(errBoom)})
	}
	cases := map[string]func(*testing.T){}
	for _, st := range everyStrategy {
		for _, at := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} { // in a start, in a delay
			cases[fmt.Sprintf("%v/%v", st, at)] = func(t *testing.T) {
				s := newStage(t)
				b := supervisor.Spec{Service: s.actor("b", loop...), Backoff: supervisor.Backoff{InitialDelay: time.Second, Multiplier: 1}}
				sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: st, Children: []supervisor.Spec{s.specs("a")[0], b, s.specs("c")[0]}})
				run := serve(t, sup)
				synctest.Wait()
				s.ends("b", returns(errBoom))
				sleep(10*time.Second + at)
				run.stop(t)
				in(t, sup, "a:idle b:idle c:idle")
				sleep(time.Hour)
				in(t, sup, "a:idle b:idle c:idle")
				run = serve(t, sup) // and it is as new: b's loop goes on, but as a first start
				as[*supervisor.StartError](t, "Serve", run.wait())
			}
		}
	}
	under(t, cases)
}

// From go-capataz's list, what OTP's lacks.
func TestCapataz(t *testing.T) {
	type key struct{}
	under(t, map[string]func(*testing.T){
		// TestNamesOnDeeplyNestedTrees
		"names in a deep tree": func(t *testing.T) {
			s := newStage(t)
			var svc supervisor.Service = s.actor("z")
			path := []string{}
			for i := range 25 {
				name := string(rune('y' - i))
				path = append([]string{name}, path...)
				svc = newSupervisor(t, supervisor.SupervisorOptions{Name: name, Children: []supervisor.Spec{spec(svc)}})
			}
			root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Children: []supervisor.Spec{spec(svc)}})
			events := root.Subscribe(999)
			run := serve(t, root)
			synctest.Wait()
			run.stop(t)
			got := collect(events)
			leaf := strings.Join(path, "/") + "/z: "
			if got[25] != leaf+"starting" || got[26] != leaf+"ready" || got[27] != strings.Join(path, "/")+": ready" {
				t.Errorf("events: %v, want %sstarting in the middle, and then ready from inside out", got[24:29], leaf)
			}
		},
		// TestWorkerHasContextValuesOnNestedTree
		"values of the context in a tree": func(t *testing.T) {
			var got any
			inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{
				{Name: "x", Service: supervisor.ServiceFunc(func(ctx context.Context) error { got = ctx.Value(key{}); <-ctx.Done(); return nil })},
			}})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{spec(inner)}})
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			time.AfterFunc(time.Second, cancel)
			is(t, "Serve", sup.Serve(ctx), context.Canceled)
			if got != "value" {
				t.Errorf("a child's context has %v, want the values of the root's", got)
			}
		},
		// TestDynSpawnAfterCrashedSupervisor
		"add after it gave up": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Intensity: supervisor.Intensity{MaxRestarts: -1}, Children: s.specs("a")})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			as[*supervisor.IntensityError](t, "Serve", run.wait())
			is(t, "Add", sup.Add(t.Context(), spec(s.actor("b"))))
			in(t, sup, "a:gave-up b:idle")
			run = serve(t, sup)
			in(t, sup, "a:ready b:ready")
			run.stop(t)
		},
		// TestDynCancelAlreadyTerminatedSupervisor
		"terminate after the end": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
			run := serve(t, sup)
			synctest.Wait()
			run.stop(t)
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			is(t, "Restart", sup.Restart(t.Context(), "a"), supervisor.ErrNotServed)
			in(t, sup, "a:idle")
		},
		// TestPermanentOneForAllSiblingTerminationFailOnRestart
		"a sibling that fails when it is told to stop": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Strategy: supervisor.OneForAll, Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Hour},
				Children: append(s.specs("a"), supervisor.Spec{Name: "b", Service: endsAsTold(explode), Backoff: eager}),
			})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom)) // the only failure that counts
			in(t, sup, "a:ready b:ready")
			run.stop(t)
		},
	})
}
