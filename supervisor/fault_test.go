package supervisor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// What suture v4.0.6 gets wrong or leaves out, and a Supervisor does not.
func TestFreeOfSuturesFaults(t *testing.T) {
	under(t, map[string]func(*testing.T){
		"a nil return is no failure": func(t *testing.T) {
			s := newStage(t)
			done := spec(s.actor("a", act{run: 1, end: returns(nil)}))
			done.Restart = supervisor.Transient
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{done}})
			run := serve(t, sup)
			sleep(time.Hour)
			in(t, sup, "a:ended")
			run.stop(t)
			s.saw("+a a! -a")
		},
		"a child that fails does not make others wait": func(t *testing.T) {
			s := newStage(t)
			var broken []act
			for range 1000 {
				broken = append(broken, act{run: 1, end: returns(errBoom)})
			}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				{Service: s.actor("broken", broken...)}, spec(s.actor("healthy")),
			}})
			run := serve(t, sup)
			sleep(20 * time.Second)
			in(t, sup, "broken:backoff healthy:ready")
			s.ends("healthy", returns(errBoom))
			in(t, sup, "broken:backoff healthy:ready")
			run.stop(t)
		},
		"an instant failer waits, and panics keep its backoff": func(t *testing.T) {
			s := newStage(t)
			var broken []act
			for i := range 8 {
				broken = append(broken, act{ready: -1, end: []func() error{returns(errBoom), explode}[i%2]})
			}
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: s.actor("a", broken...), Background: true}}})
			events := sup.Subscribe(99)
			begin := time.Now()
			run := serve(t, sup)
			sleep(2 * time.Minute)
			run.stop(t)
			events.Close()
			var starts []time.Duration
			for e := range events.Events() {
				if e.Kind == supervisor.EventStarting || e.Kind == supervisor.EventRestarted {
					starts = append(starts, e.Time.Sub(begin))
				}
			}
			if diff := cmp.Diff(seconds(0, 1, 3, 7, 15, 31, 61, 91, 121)[:8], starts[:8]); diff != "" {
				t.Errorf("starts differ (-want +got):\n%s", diff)
			}
		},
		"a stop during a delay takes no time": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{
				{Service: s.actor("a")}, {Service: s.actor("b")},
			}})
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", returns(errBoom))
			s.ends("b", returns(errBoom))
			in(t, sup, "a:backoff b:backoff")
			begin := time.Now()
			is(t, "Terminate", sup.Terminate(t.Context(), "a"))
			run.stop(t) // with b in its delay
			if got := time.Since(begin); got != 0 {
				t.Errorf("they took %v, want no time", got)
			}
			in(t, sup, "a:idle b:idle")
		},
		"events and status can be written as JSON, whatever the limits": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Intensity: supervisor.Intensity{MaxRestarts: -1, Within: math.MaxInt64},
				Children: []supervisor.Spec{{
					Service: s.actor("a"), Shutdown: supervisor.Infinite,
					Backoff: supervisor.Backoff{MaxDelay: math.MaxInt64, Multiplier: math.Inf(1), Jitter: math.NaN()},
				}},
			})
			events := sup.Subscribe(99)
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", explode)
			as[*supervisor.IntensityError](t, "Serve", run.wait())
			_, err := json.Marshal(sup.Status())
			is(t, "Marshal of the status", err)
			events.Close()
			for e := range events.Events() {
				_, err := json.Marshal(e)
				is(t, "Marshal of "+e.String(), err)
			}
		},
		"stopping what is gone does not hang": func(t *testing.T) {
			s := newStage(t)
			done := spec(s.actor("a", act{run: 1, end: returns(nil)}))
			done.Restart = supervisor.Transient
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("b"), done)})
			run := serve(t, sup)
			sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			is(t, "Terminate", sup.Terminate(ctx, "a"))
			is(t, "Delete", sup.Delete("a"))
			in(t, sup, "b:ready")
			run.stop(t)
		},
		"giving up the wait for a stop leaves nothing behind": func(t *testing.T) {
			s := newStage(t) // a goroutine that is left fails the bubble
			slow := spec(s.actor("a", act{linger: time.Minute}))
			slow.Shutdown = supervisor.Infinite
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{slow}})
			run := serve(t, sup)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			is(t, "Terminate", sup.Terminate(ctx, "a"), context.DeadlineExceeded)
			in(t, sup, "a:stopping")
			sleep(time.Minute)
			in(t, sup, "a:idle")
			run.stop(t)
		},
		"it stops in order, and can be served again": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a", "b", "c")})
			for range 3 {
				run := serve(t, sup)
				synctest.Wait()
				run.stop(t)
				s.saw("+a a! +b b! +c c! -c -b -a")
			}
		},
		"timeouts nest": func(t *testing.T) {
			s := newStage(t)
			slow := spec(s.actor("slow", act{linger: time.Minute}))
			slow.Shutdown = 2 * time.Minute
			inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{slow}})
			outer := newSupervisor(t, supervisor.SupervisorOptions{Name: "outer", Children: []supervisor.Spec{spec(inner)}})
			root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Children: []supervisor.Spec{spec(outer)}})
			run := serve(t, root)
			synctest.Wait()
			begin := time.Now()
			run.stop(t)
			if got := time.Since(begin); got != time.Minute {
				t.Errorf("stop took %v, want 1m0s", got)
			}
		},
		"who reads events may administrate": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: s.specs("a")})
			events := sup.Subscribe(9)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for e := range events.Events() {
					if e.Kind == supervisor.EventPanicked {
						is(t, "Terminate", sup.Terminate(t.Context(), e.Name))
						is(t, "Add", sup.Add(t.Context(), spec(s.actor("b"))))
						_ = sup.Status()
						return
					}
				}
			}()
			run := serve(t, sup)
			synctest.Wait()
			s.ends("a", explode)
			<-done
			in(t, sup, "a:idle b:ready")
			events.Close()
			run.stop(t)
		},
		"a name does not tell secrets": func(t *testing.T) {
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Service: secretive{Password: "hunter2"}}}})
			if got := sup.Status().String(); strings.Contains(got, "hunter2") {
				t.Errorf("status tells the password:\n%s", got)
			}
		},
		"every step has its event": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{})
			events := sup.Subscribe(99)
			run := serve(t, sup)
			synctest.Wait()
			is(t, "Add", sup.Add(t.Context(), spec(s.actor("a"))))
			s.ends("a", returns(fmt.Errorf("over: %w", supervisor.ErrDoNotRestart)))
			is(t, "Delete", sup.Delete("a"))
			run.stop(t)
			over := "over: " + supervisor.ErrDoNotRestart.Error()
			want := []string{"a: added", "a: starting", "a: ready", "a: exited: " + over, "a: ended: " + over, "a: deleted"}
			if diff := cmp.Diff(want, collect(events)); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
		},
		"what does not stop is named, at any depth": func(t *testing.T) {
			s := newStage(t)
			stuck := spec(s.actor("a", act{linger: time.Minute}))
			stuck.Shutdown = time.Second
			inner := newSupervisor(t, supervisor.SupervisorOptions{Name: "inner", Children: []supervisor.Spec{stuck}})
			outer := newSupervisor(t, supervisor.SupervisorOptions{Name: "outer", Children: []supervisor.Spec{spec(inner)}})
			root := newSupervisor(t, supervisor.SupervisorOptions{Name: "root", Children: []supervisor.Spec{spec(outer)}})
			run := serve(t, root)
			synctest.Wait()
			run.stop(t)
			if got := fmt.Sprint(root.Abandoned()); got != "[outer/inner/a]" {
				t.Errorf("abandoned: %s, want outer/inner/a", got)
			}
			sleep(time.Minute)
		},
	})
}

type secretive struct {
	supervisor.Service
	Password string
}

// A Supervisor and a suture supervisor hold each other, and a Supervisor holds
// the other services of this package.
func TestSupervisorWithOthers(t *testing.T) {
	quiet := suture.Spec{EventHook: func(suture.Event) {}}
	under(t, map[string]func(*testing.T){
		"under suture": func(t *testing.T) {
			s := newStage(t)
			sup := newSupervisor(t, supervisor.SupervisorOptions{
				Intensity: supervisor.Intensity{MaxRestarts: -1}, Children: s.specs("a", "b"),
			})
			above := suture.New("suture", quiet)
			above.Add(sup)
			run := serve(t, above)
			s.saw("+a a! +b b!")
			s.ends("a", returns(errBoom)) // gives up, and suture serves it again
			s.saw("-a -b +a a! +b b!")
			run.stop(t)
			s.saw("-b -a")
		},
		"over suture": func(t *testing.T) {
			s := newStage(t)
			inner := suture.New("suture", quiet)
			inner.Add(supervisor.ServiceFunc(s.actor("x", act{linger: 9 * time.Second}).serve))
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), spec(inner))})
			run := serve(t, sup)
			in(t, sup, "a:ready suture:ready")
			begin := time.Now()
			run.stop(t) // waits for suture's, as for one of ours
			if got := time.Since(begin); got != 9*time.Second {
				t.Errorf("stop took %v, want 9s", got)
			}
		},
		"over a Restarter that gives up": func(t *testing.T) {
			s := newStage(t)
			r := supervisor.NewRestarter(s.actor("x", act{run: 1, end: returns(errBoom)}), supervisor.Options{
				Name: "r", Intensity: supervisor.Intensity{MaxRestarts: -1},
			})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), spec(r))})
			events := sup.Subscribe(99)
			run := serve(t, sup)
			sleep(time.Second)
			in(t, sup, "a:ready r:ended")
			events.Close()
			var inside []string
			for e := range events.Events() {
				if e.Path == "r" {
					inside = append(inside, e.Kind.String())
				}
			}
			if got, want := strings.Join(inside, " "), "starting ready exited gave-up"; got != want {
				t.Errorf("events of the Restarter: %s, want %s", got, want)
			}
			run.stop(t)
		},
		"over a Restarter, and sees through it": func(t *testing.T) {
			s := newStage(t)
			r := supervisor.NewRestarter(s.actor("x", act{run: time.Second, end: returns(errBoom)}), supervisor.Options{})
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: []supervisor.Spec{{Name: "r", Service: r}}})
			run := serve(t, sup)
			in(t, sup, "r:ready")
			sleep(time.Second)
			if got, want := sup.Status().String(), "supervisor (one_for_one) ready\n└─ r backoff, next try in 1s: boom"; got != want {
				t.Errorf("status:\n%s\nwant:\n%s", got, want)
			}
			is(t, "Terminate", sup.Terminate(t.Context(), "r"))
			in(t, sup, "r:idle")
			run.stop(t)
		},
		"over a Tree": func(t *testing.T) {
			s := newStage(t)
			tree := supervisor.NewTree("tree", supervisor.TreeOptions{})
			tree.Add(s.actor("x"))
			sup := newSupervisor(t, supervisor.SupervisorOptions{Children: append(s.specs("a"), spec(tree))})
			run := serve(t, sup)
			s.saw("+a a! +x x!")
			is(t, "Terminate", sup.Terminate(t.Context(), "tree"))
			is(t, "Delete", sup.Delete("tree"))
			run.stop(t)
			s.saw("-x -a")
		},
	})
}

// serve is Serve of an actor without readiness.
func (a *actor) serve(ctx context.Context) error { return a.ServeReady(ctx, func() {}) }
