package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

func repeat(n int, s step) []step {
	steps := make([]step, n)
	for i := range steps {
		steps[i] = s
	}
	return steps
}

func TestRestarterDelays(t *testing.T) {
	t.Parallel()
	minute := step{run: time.Minute, end: returns(errBoom)}
	tests := []struct {
		name    string
		backoff supervisor.Backoff
		steps   []step
		want    []time.Duration
	}{
		{
			name:  "default",
			steps: repeat(8, fails(errBoom)),
			want:  seconds(0, 1, 3, 7, 15, 31, 61, 91, 121),
		},
		{
			name:  "nil from a permanent service is a failure",
			steps: repeat(3, fails(nil)),
			want:  seconds(0, 1, 3, 7),
		},
		{
			name:  "panics too",
			steps: repeat(3, step{end: panics("oh")}),
			want:  seconds(0, 1, 3, 7),
		},
		{
			name:    "none",
			backoff: supervisor.Backoff{InitialDelay: -1},
			steps:   repeat(3, fails(errBoom)),
			want:    seconds(0, 0, 0, 0),
		},
		{
			name:    "own numbers",
			backoff: supervisor.Backoff{InitialDelay: 2 * time.Second, Multiplier: 3, MaxDelay: 10 * time.Second},
			steps:   repeat(4, fails(errBoom)),
			want:    seconds(0, 2, 8, 18, 28),
		},
		{
			name:    "first delay over the longest",
			backoff: supervisor.Backoff{InitialDelay: time.Hour, MaxDelay: time.Second},
			steps:   repeat(2, fails(errBoom)),
			want:    seconds(0, 1, 2),
		},
		{
			name:    "shrinking multiplier counts as 1",
			backoff: supervisor.Backoff{Multiplier: 0.5},
			steps:   repeat(3, fails(errBoom)),
			want:    seconds(0, 1, 2, 3),
		},
		{
			name:  "stable run resets",
			steps: []step{fails(errBoom), fails(errBoom), minute, fails(errBoom)},
			want:  seconds(0, 1, 3, 3+60+1, 64+2),
		},
		{
			name:  "one that was not ready for long enough does not",
			steps: []step{fails(errBoom), fails(errBoom), {ready: time.Second, run: time.Minute, end: returns(errBoom)}},
			want:  seconds(0, 1, 3, 3+60+4),
		},
		{
			name:  "one that was never ready does not",
			steps: []step{fails(errBoom), fails(errBoom), {ready: -1, run: time.Hour, end: returns(errBoom)}},
			want:  seconds(0, 1, 3, 3+3600+4),
		},
		{
			name:  "stability counts from ready",
			steps: []step{fails(errBoom), fails(errBoom), {ready: time.Hour, run: time.Hour + time.Minute, end: returns(errBoom)}},
			want:  seconds(0, 1, 3, 3+3660+1),
		},
		{
			name:    "never reset",
			backoff: supervisor.Backoff{ResetAfter: -1},
			steps:   []step{fails(errBoom), fails(errBoom), {run: 24 * time.Hour, end: returns(errBoom)}},
			want:    seconds(0, 1, 3, 3+86400+4),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t, tt.steps...)
				run := serve(t, supervisor.NewRestarter(s, supervisor.Options{Backoff: tt.backoff}))
				sleep(48 * time.Hour)
				run.stop(t)
				if diff := cmp.Diff(tt.want, s.starts); diff != "" {
					t.Errorf("starts differ (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A plain service counts as ready from its start.
func TestRestarterPlainService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, fails(errBoom), fails(errBoom), step{run: time.Minute, end: returns(errBoom)})
		r := supervisor.NewRestarter(supervisor.ServiceFunc(s.Serve), supervisor.Options{})
		run := serve(t, r)
		sleep(2 * time.Hour)
		if got := r.Status().State; got != supervisor.StateReady {
			t.Errorf("state = %v, want ready", got)
		}
		run.stop(t)
		if diff := cmp.Diff(seconds(0, 1, 3, 64), s.starts); diff != "" {
			t.Errorf("starts differ (-want +got):\n%s", diff)
		}
	})
}

func TestRestarterJitter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 500
		s := newScript(t, repeat(n, fails(errBoom))...)
		r := supervisor.NewRestarter(s, supervisor.Options{Backoff: supervisor.Backoff{
			InitialDelay: 20 * time.Second, MaxDelay: 30 * time.Second, Multiplier: 1, Jitter: 0.75,
		}})
		events := r.Subscribe(10 * n)
		run := serve(t, r)
		sleep(24 * time.Hour)
		run.stop(t)
		events.Close()
		var shortest, longest time.Duration = time.Hour, 0
		for e := range events.Events() {
			if e.Kind == supervisor.EventBackingOff {
				shortest, longest = min(shortest, e.Delay), max(longest, e.Delay)
			}
		}
		// 500 draws miss a tenth of the range once in 10^22 times.
		if shortest < 5*time.Second || shortest > 9*time.Second {
			t.Errorf("shortest delay = %v, want 5s to 9s", shortest)
		}
		if longest != 30*time.Second {
			t.Errorf("longest delay = %v, want 30s: held to MaxDelay", longest)
		}
	})
}

// With the default delays a limit of 6 in a minute is never reached, as the
// documentation says, and 5 is.
func TestRestarterDefaultDelaysAndIntensity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		six := supervisor.NewRestarter(newScript(t, repeat(500, fails(errBoom))...), supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: 6}})
		run := serve(t, six)
		sleep(time.Hour)
		run.stop(t)
		five := supervisor.NewRestarter(newScript(t, repeat(500, fails(errBoom))...), supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: 5}})
		begin := time.Now()
		if err := five.Serve(t.Context()); time.Since(begin) != 31*time.Second {
			t.Errorf("after %v: %v, want to give up after 31s", time.Since(begin), err)
		}
	})
}

// The library's delays turn into -1 after 15 minutes, unless told otherwise.
func TestRestarterNeverStopsTrying(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, repeat(1<<20, fails(errBoom))...)
		run := serve(t, supervisor.NewRestarter(s, supervisor.Options{}))
		sleep(24 * time.Hour)
		run.stop(t)
		if want := 7 + (24*3600-61)/30; len(s.starts) != want {
			t.Errorf("%d starts in a day, want %d", len(s.starts), want)
		}
	})
}

// A policy that panics cannot say that the service has ended well.
func TestRestarterPanicInPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, fails(errBoom)), supervisor.Options{
			Restart: supervisor.Transient,
			Normal:  func(error) bool { panic("oh") },
		})
		run := serve(t, r)
		synctest.Wait()
		var p *supervisor.PanicError
		if st := r.Status(); st.State != supervisor.StateBackoff || !errors.As(troubleOf(st).LastError, &p) || p.Value != "oh" {
			t.Errorf("status = %+v, %v; want backoff because of the panic", st, troubleOf(st))
		}
		run.stop(t)
	})
}

// A stop that comes during a delay takes no time, and nothing starts after it.
func TestRestarterStopWinsAgainstRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, repeat(9, fails(errBoom))...)
		r := supervisor.NewRestarter(s, supervisor.Options{})
		run := serve(t, r)
		sleep(10 * time.Second)
		begin := time.Now()
		// Both at once: the delay ends, and the context.
		r.RestartNow()
		run.stop(t)
		if time.Since(begin) != 0 {
			t.Errorf("stop took %v", time.Since(begin))
		}
		n := len(s.starts)
		sleep(time.Hour)
		if len(s.starts) != n {
			t.Errorf("started after it was stopped")
		}
		if got := r.Status(); got.State != supervisor.StateIdle || !troubleOf(got).NextTry.IsZero() {
			t.Errorf("status = %+v, want idle", got)
		}
	})
}

func TestRestarterWaitsForService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const slow = 7 * time.Second
		r := supervisor.NewRestarter(supervisor.ServiceFunc(func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(slow)
			return errBoom
		}), supervisor.Options{})
		run := serve(t, r)
		synctest.Wait()
		begin := time.Now()
		run.cancel()
		synctest.Wait()
		if got := r.Status().State; got != supervisor.StateStopping {
			t.Errorf("state = %v, want stopping", got)
		}
		if err := run.wait(); err != context.Canceled || time.Since(begin) != slow {
			t.Errorf("Serve = %v after %v, want context.Canceled after %v", err, time.Since(begin), slow)
		}
		if got := r.Status(); got.Trouble != nil {
			t.Errorf("status = %+v: an end that was asked for is no failure", got)
		}
	})
}

func TestRestarterEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newScript(t)
	r := supervisor.NewRestarter(s, supervisor.Options{})
	events := r.Subscribe(9)
	if err := r.Serve(ctx); err != context.Canceled || len(s.starts) != 0 {
		t.Errorf("Serve = %v after %d starts, want context.Canceled after none", err, len(s.starts))
	}
	if got := collect(events); got != nil {
		t.Errorf("events = %v, want none", got)
	}
}

func TestRestarterServedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, repeat(6, fails(errBoom))...)
		r := supervisor.NewRestarter(s, supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: 2}})
		for range 2 { // each gives up after three starts, at 0, 1, 3 s
			var gaveUp *supervisor.GaveUpError
			if err := r.Serve(t.Context()); !errors.As(err, &gaveUp) {
				t.Fatalf("Serve = %v, want to give up", err)
			}
		}
		run := serve(t, r)
		synctest.Wait()
		st := r.Status()
		if st.State != supervisor.StateReady || st.Generation != 7 || st.Restarts != 4 || troubleOf(st).Consecutive != 0 {
			t.Errorf("status = %+v, want ready in generation 7 after 4 restarts, none in a row", st)
		}
		if err := r.Serve(t.Context()); !errors.Is(err, supervisor.ErrAlreadyServed) {
			t.Errorf("second Serve at once = %v, want ErrAlreadyServed", err)
		}
		run.stop(t)
		if diff := cmp.Diff(seconds(0, 1, 3, 3, 4, 6, 6), s.starts); diff != "" {
			t.Errorf("starts differ (-want +got):\n%s", diff)
		}
	})
}

// A lateContext has ended before those who wait for its end get to know.
type lateContext struct {
	context.Context
	ended atomic.Bool
}

func (c *lateContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

// A service that ends at the moment at which it is told to has stopped as told,
// whichever of the two the Restarter sees first.
func TestRestarterEndsWhenToldTo(t *testing.T) {
	t.Parallel()
	ctx := &lateContext{Context: t.Context()}
	r := supervisor.NewRestarter(supervisor.ServiceFunc(func(context.Context) error {
		ctx.ended.Store(true)
		return errBoom
	}), supervisor.Options{Name: "s", Restart: supervisor.Temporary})
	events := r.Subscribe(9)
	if err := r.Serve(ctx); err != context.Canceled {
		t.Errorf("Serve = %v, want context.Canceled", err)
	}
	want := []string{"s: starting", "s: ready", "s: stopping", "s: exited: boom", "s: stopped"}
	if diff := cmp.Diff(want, collect(events)); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	if got := r.Status().Trouble; got != nil {
		t.Errorf("Trouble = %v, want nil", got)
	}
}
