package supervisor_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// stubborn is a service that ends when the test says so, whatever ctx says.
type stubborn struct{ release chan struct{} }

func newStubborn() *stubborn { return &stubborn{make(chan struct{})} }

func (s *stubborn) String() string { return "stubborn" }
func (s *stubborn) Serve(context.Context) error {
	<-s.release
	return nil
}

func TestTreeServesAndStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		early, late := newScript(t), newScript(t)
		tree.Add(early)
		for n := range 3 { // unlike suture's, it can be served again
			ctx, cancel := context.WithCancel(t.Context())
			errs := tree.ServeBackground(ctx)
			if n == 0 {
				tree.Add(late)
			}
			if err := tree.Serve(ctx); !errors.Is(err, supervisor.ErrAlreadyServed) || !errors.Is(err, supervisor.ErrDoNotRestart) {
				t.Errorf("second Serve at once = %v, want ErrAlreadyServed", err)
			}
			if err := <-tree.ServeBackground(ctx); !errors.Is(err, supervisor.ErrAlreadyServed) {
				t.Errorf("second ServeBackground at once = %v, want ErrAlreadyServed", err)
			}
			sleep(time.Second)
			if got := tree.Unstopped(); got != nil {
				t.Errorf("unstopped while it is served: %v", got)
			}
			cancel()
			if err := <-errs; err != context.Canceled {
				t.Errorf("Serve = %v, want context.Canceled", err)
			}
			if err, open := <-errs; err != nil || open {
				t.Errorf("the channel gave %v, and is not closed", err)
			}
			if got := tree.Unstopped(); got != nil {
				t.Errorf("unstopped: %v", got)
			}
		}
		if diff := cmp.Diff(seconds(0, 1, 2), early.starts); diff != "" {
			t.Errorf("starts differ (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(seconds(0, 1, 2), late.starts); diff != "" {
			t.Errorf("starts of the later one differ (-want +got):\n%s", diff)
		}
	})
}

// suture counts failures for a whole supervisor: there, one that always fails
// makes all others wait.
func TestTreeNeighboursDoNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		bad := newScript(t, repeat(99, fails(errBoom))...)
		good := newScript(t, step{run: 20 * time.Second, end: returns(errBoom)})
		tree.Add(bad)
		tree.Add(good)
		run := serve(t, tree)
		sleep(100 * time.Second)
		run.stop(t)
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 15, 31, 61, 91), bad.starts); diff != "" {
			t.Errorf("starts of the bad one differ (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(seconds(0, 21), good.starts); diff != "" {
			t.Errorf("starts of the good one differ (-want +got):\n%s", diff)
		}
	})
}

func TestTreeKeepsWhatGaveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		r := supervisor.NewRestarter(newScript(t, repeat(9, fails(errBoom))...), supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: -1}})
		token := tree.Add(r)
		run := serve(t, tree)
		sleep(time.Hour)
		if got := r.Status(); got.State != supervisor.StateGaveUp || got.Generation != 1 {
			t.Errorf("status = %+v, want gave-up after one start", got)
		}
		// suture's RemoveAndWait of such a service could hang its supervisor.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tree.Remove(ctx, token); err != nil {
			t.Errorf("Remove = %v", err)
		}
		other := newScript(t)
		tree.Add(other)
		synctest.Wait()
		if len(other.starts) != 1 {
			t.Error("the tree does not start services any more")
		}
		run.stop(t)
	})
}

func TestTreeRemove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		never, running, waiting := newScript(t), newScript(t), newScript(t, repeat(9, fails(errBoom))...)
		remove := func(token supervisor.Token) {
			t.Helper()
			begin := time.Now()
			for range 2 { // twice is fine
				if err := tree.Remove(t.Context(), token); err != nil || time.Since(begin) != 0 {
					t.Errorf("Remove = %v after %v, want nil at once", err, time.Since(begin))
				}
			}
		}
		remove(tree.Add(never))
		run := serve(t, tree)
		t1, t2 := tree.Add(running), tree.Add(waiting)
		sleep(10 * time.Second)
		remove(t1)
		if running.active.Load() != 0 {
			t.Error("the service runs after Remove has returned")
		}
		remove(t2)
		remove(tree.Add(newScript(t))) // perhaps before it was started
		n := len(waiting.starts)
		sleep(time.Hour)
		run.stop(t)
		if len(never.starts) != 0 || len(running.starts) != 1 || len(waiting.starts) != n {
			t.Error("a service was started after it was removed")
		}
		for _, token := range []supervisor.Token{{}, supervisor.NewTree("other", supervisor.TreeOptions{}).Add(never)} {
			if err := tree.Remove(t.Context(), token); err == nil {
				t.Error("Remove took the token of another tree")
			}
		}
	})
}

func TestTreeRemoveOfStubborn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		s := newStubborn()
		token := tree.Add(s)
		run := serve(t, tree)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := tree.Remove(ctx, token)
		if want := "remove stubborn from root: it has not stopped yet: context deadline exceeded"; err == nil || err.Error() != want {
			t.Errorf("Remove = %v, want %v", err, want)
		}
		if got := tree.Unstopped(); !cmp.Equal(got, []string{"stubborn"}) {
			t.Errorf("unstopped = %v, want [stubborn]", got)
		}
		removed := make(chan error)
		go func() { removed <- tree.Remove(t.Context(), token) }()
		synctest.Wait()
		close(s.release)
		if err := <-removed; err != nil {
			t.Errorf("second Remove = %v", err)
		}
		if got := tree.Unstopped(); got != nil {
			t.Errorf("unstopped = %v, want none", got)
		}
		run.stop(t)
	})
}

// A service that outlives its removal and then the tree leaves no goroutine
// behind when it ends at last, as it would under suture's Remove.
func TestTreeRemovedOutlivesTree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{StopTimeout: time.Second})
		s := newStubborn()
		token := tree.Add(s)
		run := serve(t, tree)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tree.Remove(ctx, token); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Remove = %v, want context.DeadlineExceeded", err)
		}
		run.stop(t)
		if diff := cmp.Diff([]string{"stubborn"}, tree.Unstopped()); diff != "" {
			t.Errorf("unstopped differ (-want +got):\n%s", diff)
		}
		close(s.release)
		if err := tree.Remove(t.Context(), token); err != nil {
			t.Errorf("second Remove = %v", err)
		}
		if got := tree.Unstopped(); got != nil {
			t.Errorf("unstopped = %v, want none", got)
		}
	})
}

// Once out of the tree, and stopped, a service is none of its business.
func TestTreeForgetsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		s := newStubborn()
		late := supervisor.NewRestarter(s, supervisor.Options{Restart: supervisor.Temporary})
		never := supervisor.NewRestarter(newScript(t, fails(nil)), supervisor.Options{Restart: supervisor.Temporary})
		if err := tree.Remove(t.Context(), tree.Add(never)); err != nil {
			t.Error(err)
		}
		token := tree.Add(late)
		run := serve(t, tree)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tree.Remove(ctx, token); !errors.Is(err, context.Canceled) {
			t.Errorf("Remove = %v, want context.Canceled", err)
		}
		close(s.release)
		synctest.Wait()
		run.stop(t)

		events := tree.Subscribe(99)
		for _, r := range []*supervisor.Restarter{late, never} {
			if err := r.Serve(t.Context()); !errors.Is(err, supervisor.ErrDoNotRestart) {
				t.Error(err)
			}
		}
		if got := collect(events); got != nil {
			t.Errorf("events = %v, want none", got)
		}
	})
}

// When Remove has returned without an error the service does not run, and will
// not, even if it was just about to start.
func TestTreeRemoveRacesWithStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		run := serve(t, tree)
		for range 200 {
			s := newScript(t)
			token := tree.Add(s)
			if err := tree.Remove(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			n := len(s.starts)
			synctest.Wait()
			if len(s.starts) != n {
				t.Fatal("service was started after Remove had returned")
			}
		}
		run.stop(t)
	})
}

// What does not stop in time is named, also in an inner tree, and is not started
// a second time beside itself.
func TestTreeAbandons(t *testing.T) {
	bubble(t, func(t *testing.T) {
		outer := supervisor.NewTree("outer", supervisor.TreeOptions{StopTimeout: 5 * time.Second})
		inner := supervisor.NewTree("inner", supervisor.TreeOptions{StopTimeout: 2 * time.Second})
		outer.Add(inner)
		s, other := newStubborn(), newScript(t)
		r := supervisor.NewRestarter(s, supervisor.Options{Restart: supervisor.Temporary})
		inner.Add(r)
		inner.Add(other)
		events := outer.Subscribe(99)
		run := serve(t, outer)
		sleep(time.Second)
		begin := time.Now()
		run.stop(t)
		if got := time.Since(begin); got != 2*time.Second {
			t.Errorf("stop took %v, want 2s", got)
		}
		if diff := cmp.Diff([]string{"inner/stubborn"}, outer.Unstopped()); diff != "" {
			t.Errorf("unstopped differ (-want +got):\n%s", diff)
		}
		var abandoned []string
		for e := range drain(events) {
			if e.Kind == supervisor.EventAbandoned {
				abandoned = append(abandoned, e.Name)
			}
		}
		if diff := cmp.Diff([]string{"stubborn"}, abandoned); diff != "" {
			t.Errorf("abandoned differ (-want +got):\n%s", diff)
		}

		run = serve(t, outer)
		sleep(time.Second)
		if got := r.Status(); got.Generation != 1 || got.State != supervisor.StateStopping {
			t.Errorf("status = %+v, want the first run to be stopping still", got)
		}
		if got := len(other.starts); got != 2 {
			t.Errorf("%d starts of the other service, want 2", got)
		}
		close(s.release)
		synctest.Wait()
		if got := r.Status().Generation; got != 2 {
			t.Errorf("generation %d after the first run has ended, want 2", got)
		}
		run.stop(t)
		if got := outer.Unstopped(); got != nil {
			t.Errorf("unstopped = %v, want none", got)
		}
	})
}

func drain(s *supervisor.Subscription) <-chan supervisor.Event {
	s.Close()
	return s.Events()
}

func TestTreeWaitsForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{StopTimeout: -1})
		s := newStubborn()
		tree.Add(s)
		run := serve(t, tree)
		synctest.Wait()
		begin := time.Now()
		time.AfterFunc(1000*time.Hour, func() { close(s.release) })
		run.stop(t)
		if got := time.Since(begin); got != 1000*time.Hour {
			t.Errorf("stop took %v, want 1000h", got)
		}
	})
}

// A service that asks for the end of the tree ends the trees above it too. Those
// who call Add at that moment are not held up: suture would hold them until all
// services have stopped, and here one of these is the caller.
func TestTreeTerminates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		outer := supervisor.NewTree("outer", supervisor.TreeOptions{})
		inner := supervisor.NewTree("inner", supervisor.TreeOptions{})
		outer.Add(inner)
		inner.Add(supervisor.ServiceFunc(func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second) // the stop is under way
			inner.Add(newScript(t))
			outer.Add(newScript(t))
			return ctx.Err()
		}))
		fatal := errors.Join(errors.New("no more disk"), supervisor.ErrTerminateTree)
		inner.Add(newScript(t, step{run: time.Minute, end: returns(fatal)}))
		begin := time.Now()
		err := outer.Serve(t.Context())
		if !errors.Is(err, fatal) || time.Since(begin) != time.Minute+time.Second {
			t.Errorf("Serve = %v after %v, want %v after 1m1s", err, time.Since(begin), fatal)
		}
	})
}

// A tree that comes too late with the wish to end everything does not end the
// next Serve of the tree around it.
func TestTreeIgnoresLateTerminate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		outer := supervisor.NewTree("outer", supervisor.TreeOptions{StopTimeout: time.Second})
		inner := supervisor.NewTree("inner", supervisor.TreeOptions{StopTimeout: time.Minute})
		outer.Add(inner)
		s := newStubborn() // keeps inner in its stop
		inner.Add(s)
		inner.Add(newScript(t, step{run: time.Second, end: returns(supervisor.ErrTerminateTree)}))
		run := serve(t, outer)
		sleep(time.Second)
		run.stop(t)
		if diff := cmp.Diff([]string{"inner"}, outer.Unstopped()); diff != "" {
			t.Errorf("unstopped differ (-want +got):\n%s", diff)
		}
		run = serve(t, outer)
		synctest.Wait()
		close(s.release)
		sleep(time.Minute)
		run.stop(t)
	})
}

// A reader of events may use the tree: suture's hook, which runs on the
// supervisor's own loop, may not.
func TestTreeUsedByItsReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		events := tree.Subscribe(99)
		token := tree.Add(supervisor.NewRestarter(newScript(t, repeat(9, fails(errBoom))...), supervisor.Options{Name: "bad"}))
		replacement := newScript(t)
		run := serve(t, tree)
		for e := range events.Events() {
			if e.Kind == supervisor.EventBackingOff {
				break
			}
		}
		if err := tree.Remove(t.Context(), token); err != nil {
			t.Error(err)
		}
		tree.Add(replacement)
		synctest.Wait()
		if len(replacement.starts) != 1 {
			t.Error("the replacement was not started")
		}
		run.stop(t)
		want := []string{
			"bad: stopped",
			"script: starting", "script: ready", "script: stopping", "script: exited: context canceled", "script: stopped",
		}
		if diff := cmp.Diff(want, collect(events)); diff != "" {
			t.Errorf("events differ (-want +got):\n%s", diff)
		}
	})
}

func TestTreeConcurrentUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tree := supervisor.NewTree("root", supervisor.TreeOptions{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for n := range 50 {
					token := tree.Add(newScript(t, fails(errBoom)))
					if n%2 == 0 {
						time.Sleep(time.Second)
					}
					tree.Unstopped()
					if err := tree.Remove(t.Context(), token); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 10 {
			run := serve(t, tree)
			time.Sleep(2 * time.Second)
			run.stop(t)
		}
		wg.Wait()
	})
}
