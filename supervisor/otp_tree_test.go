package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A child is added by a child, and supervisors hold supervisors.
func TestOTPTree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		left := newSupervisor(t, supervisor.SupervisorOptions{Name: "left", Strategy: supervisor.OneForAll, Children: s.specs("a", "b")})
		right := newSupervisor(t, supervisor.SupervisorOptions{
			Name: "right", Children: s.specs("c"),
			Intensity: supervisor.Intensity{MaxRestarts: 1, Within: time.Second},
		})
		root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Strategy: supervisor.RestForOne, Children: []supervisor.Spec{
			spec(left), spec(right), spec(s.actor("d")),
		}})
		run := serve(t, root)
		s.saw("+a a! +b b! +c c! +d d!")
		s.ends("c", returns(errBoom))
		s.saw("-c +c c!")
		s.ends("c", returns(errBoom)) // right gives up, and d depends on it
		s.saw("-c -d +c c! +d d!")
		s.ends("b", explode)
		s.saw("-b -a +a a! +b b!")
		st := root.Status()
		want := `root (rest_for_one) ready, 2 restarts
├─ left (one_for_all) ready
│  ├─ a ready, 1 restart
│  └─ b ready, 1 restart
├─ right (one_for_one) ready, 1 restart
│  └─ c ready, 1 restart
└─ d ready, 1 restart`
		if got := st.String(); got != want {
			t.Errorf("status:\n%s\nwant:\n%s", got, want)
		}
		run.stop(t)
		s.saw("-d -c -b -a")
	})
}

func TestOTPTemporaryIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{})
		run := serve(t, sup)
		synctest.Wait()
		sp := spec(s.actor("a"))
		sp.Restart = supervisor.Temporary
		is(t, "Add", sup.Add(t.Context(), sp))
		is(t, "Terminate", sup.Terminate(t.Context(), "a"))
		is(t, "Restart", sup.Restart(t.Context(), "a"), supervisor.ErrNotFound)
		is(t, "Add", sup.Add(t.Context(), sp))
		s.ends("a", returns(errBoom))
		is(t, "Restart", sup.Restart(t.Context(), "a"), supervisor.ErrNotFound)
		is(t, "Add", sup.Add(t.Context(), sp))
		run.stop(t)
		in(t, sup, "")
		run = serve(t, sup)
		in(t, sup, "")
		run.stop(t)
	})
}

// Administration works while a child fails to start, over and over.
func TestOTPHangingRestartLoop(t *testing.T) {
	never := act{ready: -1, run: time.Second, end: returns(errBoom)}
	loop := []act{{}}
	for range 1000 {
		loop = append(loop, never)
	}
	cases := map[string]func(*testing.T){}
	for _, st := range []supervisor.Strategy{supervisor.OneForOne, supervisor.OneForAll, supervisor.RestForOne} {
		cases[st.String()] = func(t *testing.T) {
			s := newStage(t)
			ctx := t.Context()
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Strategy: st,
				Children: []supervisor.Spec{spec(s.actor("a")), spec(s.actor("b", loop...)), spec(s.actor("c"))},
			})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("b", returns(errBoom))
			sleep(10*time.Second + 1)
			// The new one is not started by the next round of the loop alone.
			is(t, "Add", sup.Add(ctx, spec(s.actor("d"))))
			is(t, "Add", sup.Add(ctx, spec(s.actor("d"))), supervisor.ErrAlreadyStarted)
			is(t, "Add", sup.Add(ctx, spec(s.actor("b"))), supervisor.ErrAlreadyStarted)
			is(t, "Terminate", sup.Terminate(ctx, "d"))
			is(t, "Delete", sup.Delete("d"))
			sleep(10 * time.Second)
			is(t, "Delete", sup.Delete("b"), supervisor.ErrRunning)
			is(t, "Terminate", sup.Terminate(ctx, "b"))
			sleep(time.Hour)
			in(t, sup, "a:ready b:idle c:ready")
			is(t, "Delete", sup.Delete("b"))
			run.stop(t)
		}
	}
	cases["pool"] = func(t *testing.T) {
		s := newStage(t)
		pool, _ := supervisor.NewPool(supervisor.PoolOptions{Backoff: eager})
		run := serve(t, pool)
		synctest.Wait()
		b, err := pool.Start(t.Context(), s.actor("b", loop...))
		is(t, "Start", err)
		s.ends("b", returns(errBoom))
		sleep(10*time.Second + 1)
		c, err := pool.Start(t.Context(), s.actor("c"))
		is(t, "Start", err)
		is(t, "Stop", pool.Stop(t.Context(), b))
		is(t, "Stop", pool.Stop(t.Context(), c))
		in(t, pool, "")
		run.stop(t)
	}
	under(t, cases)
}

func TestOTPOrderOfChildren(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStage(t)
		sup := newSupervisor(t, supervisor.SupervisorOptions{Strategy: supervisor.RestForOne, Children: s.specs("a", "b")})
		run := serve(t, sup)
		synctest.Wait()
		for _, sp := range s.specs("c", "d") {
			is(t, "Add", sup.Add(t.Context(), sp))
		}
		s.saw("+a a! +b b! +c c! +d d!")
		is(t, "Terminate", sup.Terminate(t.Context(), "b"))
		is(t, "Delete", sup.Delete("b"))
		is(t, "Add", sup.Add(t.Context(), spec(s.actor("b")))) // it comes last now
		s.saw("-b +b b!")
		in(t, sup, "a:ready c:ready d:ready b:ready")
		s.ends("c", returns(errBoom))
		s.saw("-c -b -d +c c! +d d! +b b!")
		run.stop(t)
		s.saw("-b -d -c -a")
		run = serve(t, sup)
		s.saw("+a a! +c c! +d d! +b b!")
		run.stop(t)
	})
}

func TestOTPScale(t *testing.T) {
	const many = 1000
	under(t, map[string]func(*testing.T){
		"start and stop": func(t *testing.T) {
			s := newStage(t)
			var names []string
			for i := range many {
				names = append(names, fmt.Sprint(i))
			}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs(names...)})
			run := serve(t, sup)
			synctest.Wait()
			if got := len(s.log); got != 2*many {
				t.Errorf("%d lines, want %d", got, 2*many)
			}
			run.stop(t)
			for i, line := range s.log[2*many:] {
				if want := fmt.Sprintf("-%d", many-1-i); line != want {
					t.Fatalf("stop number %d: %s, want %s", i, line, want)
				}
			}
		},
		"pool": func(t *testing.T) {
			pool, _ := supervisor.NewPool(supervisor.PoolOptions{Restart: supervisor.Temporary})
			run := serve(t, pool)
			synctest.Wait()
			end := make(chan struct{})
			for range many {
				_, err := pool.Start(t.Context(), supervisor.ServiceFunc(func(ctx context.Context) error { <-end; return nil }))
				is(t, "Start", err)
			}
			if got := pool.Len(); got != many {
				t.Errorf("Len() = %d, want %d", got, many)
			}
			close(end)
			synctest.Wait()
			if got := pool.Len(); got != 0 {
				t.Errorf("Len() = %d, want 0", got)
			}
			run.stop(t)
		},
	})
}
