package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"github.com/thejerf/suture/v4"
)

// Each fits where the other is expected.
var (
	_ suture.Service     = supervisor.Service(nil)
	_ supervisor.Service = suture.Service(nil)
	_ supervisor.Service = (*suture.Supervisor)(nil)
	_ suture.Service     = (*supervisor.Restarter)(nil)
	_ suture.Service     = (*supervisor.Tree)(nil)
)

// Under a plain suture supervisor a Restarter is never counted as a failure: it
// ends for good, or by being stopped.
func TestUnderPlainSuture(t *testing.T) {
	t.Parallel()
	once := supervisor.Intensity{MaxRestarts: 1}
	tests := []struct {
		name  string
		opts  supervisor.Options
		steps []step
		want  []time.Duration
		state supervisor.State
	}{
		{"keeps its delays", supervisor.Options{}, repeat(7, fails(errBoom)), seconds(0, 1, 3, 7, 15, 31, 61, 91), supervisor.StateReady},
		{"and after panics", supervisor.Options{}, repeat(7, step{end: panics("oh")}), seconds(0, 1, 3, 7, 15, 31, 61, 91), supervisor.StateReady},
		{"gives up once", supervisor.Options{Intensity: once}, repeat(9, fails(errBoom)), seconds(0, 1), supervisor.StateGaveUp},
		{"gives up after a context's error", supervisor.Options{Intensity: once}, repeat(9, fails(context.Canceled)), seconds(0, 1), supervisor.StateGaveUp},
		{"ends once", supervisor.Options{Restart: supervisor.Transient}, repeat(9, fails(nil)), seconds(0), supervisor.StateEnded},
		{"temporary", supervisor.Options{Restart: supervisor.Temporary}, repeat(9, fails(errBoom)), seconds(0), supervisor.StateEnded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sup := suture.New("suture", suture.Spec{EventHook: func(e suture.Event) { t.Errorf("suture's event: %v", e) }})
				s := newScript(t, tt.steps...)
				r := supervisor.NewRestarter(s, tt.opts)
				sup.Add(r)
				run := serve(t, sup)
				sleep(time.Hour)
				if got := r.Status().State; got != tt.state {
					t.Errorf("state = %v, want %v", got, tt.state)
				}
				if diff := cmp.Diff(tt.want, s.starts); diff != "" {
					t.Errorf("starts differ (-want +got):\n%s", diff)
				}
				run.stop(t)
			})
		})
	}
}

func TestTerminateReachesSuture(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sup := suture.NewSimple("suture")
		tree := supervisor.NewTree("tree", supervisor.TreeOptions{})
		sup.Add(tree)
		fatal := errors.Join(errBoom, suture.ErrTerminateSupervisorTree)
		tree.Add(newScript(t, fails(fatal)))
		if err := sup.Serve(t.Context()); !errors.Is(err, errBoom) {
			t.Errorf("Serve = %v, want %v", err, fatal)
		}
	})
}

// A suture supervisor with services of its own is a service like any other.
func TestSutureInTree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("tree", supervisor.TreeOptions{})
		sup := suture.New("inner", suture.Spec{EventHook: func(suture.Event) {}})
		s := newScript(t, fails(errBoom))
		sup.Add(s)
		events := tree.Subscribe(99)
		tree.Add(sup)
		run := serve(t, tree)
		synctest.Wait()
		run.stop(t)
		if len(s.starts) != 2 {
			t.Errorf("%d starts, want 2: suture restarts at once", len(s.starts))
		}
		want := []string{"inner: starting", "inner: ready", "inner: stopping", "inner: exited: context canceled", "inner: stopped"}
		if diff := cmp.Diff(want, collect(events)); diff != "" {
			t.Errorf("events differ (-want +got):\n%s", diff)
		}
	})
}

// A Restarter that has ended for good ends the one around it as well.
func TestRestarterInRestarter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, repeat(9, fails(errBoom))...)
		inner := supervisor.NewRestarter(s, supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: 2}})
		outer := supervisor.NewRestarter(inner, supervisor.Options{})
		var gaveUp *supervisor.GaveUpError
		if err := outer.Serve(t.Context()); !errors.As(err, &gaveUp) {
			t.Errorf("Serve = %v, want the inner one's *GaveUpError", err)
		}
		if len(s.starts) != 3 || outer.Status().State != supervisor.StateEnded {
			t.Errorf("%d starts, outer %v; want 3, ended", len(s.starts), outer.Status().State)
		}
	})
}
