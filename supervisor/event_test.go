package supervisor_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

func collect(s *supervisor.Subscription) []string {
	s.Close()
	var lines []string
	for e := range s.Events() {
		lines = append(lines, e.String())
	}
	return lines
}

func TestEvents(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		opts  supervisor.Options
		steps []step
		want  []string
	}{
		{
			name:  "stopped",
			steps: []step{fails(errBoom), {ready: time.Second, run: 2 * time.Second, end: panics("oh")}},
			want: []string{
				"s: starting", "s: ready", "s: exited: boom", "s: backing-off 1s: boom",
				"s: restarted", "s: ready", "s: panicked: panic: oh", "s: backing-off 2s: panic: oh",
				"s: restarted", "s: ready", "s: stopping", "s: exited: context canceled", "s: stopped",
			},
		},
		{
			name:  "stopped in a delay",
			opts:  supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: 100 * time.Hour, MaxDelay: 200 * time.Hour}},
			steps: []step{{ready: -1, end: returns(nil)}},
			want:  []string{"s: starting", "s: exited", "s: backing-off 100h0m0s", "s: stopped"},
		},
		{
			name:  "gave up",
			opts:  supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: -1}},
			steps: []step{fails(errBoom)},
			want:  []string{"s: starting", "s: ready", "s: exited: boom", "s: gave-up: s gave up after 0 restarts within 1m0s: boom"},
		},
		{
			name:  "ended",
			opts:  supervisor.Options{Restart: supervisor.Transient},
			steps: []step{fails(nil)},
			want:  []string{"s: starting", "s: ready", "s: exited", "s: ended: s has ended: service should not be restarted"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				tt.opts.Name = "s"
				r := supervisor.NewRestarter(newScript(t, tt.steps...), tt.opts)
				events := r.Subscribe(99)
				run := serve(t, r)
				sleep(time.Hour)
				run.cancel()
				err := run.wait()
				if diff := cmp.Diff(tt.want, collect(events)); diff != "" {
					t.Errorf("events differ (-want +got):\n%s", diff)
				}
				if st := r.Status(); st.State == supervisor.StateEnded && !errors.Is(err, supervisor.ErrDoNotRestart) {
					t.Errorf("Serve = %v", err)
				}
			})
		})
	}
}

// Whoever hears that it is over can serve it again at once.
func TestServeAgainAfterLastEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, repeat(100, fails(errBoom))...), supervisor.Options{Restart: supervisor.Temporary})
		events := r.Subscribe(1000)
		var wg sync.WaitGroup
		again := func() { r.Serve(t.Context()) }
		wg.Go(again)
		for n := 0; n < 100; {
			if e := <-events.Events(); e.Kind == supervisor.EventEnded {
				n++
				if n < 100 {
					wg.Go(again)
				}
			}
		}
		wg.Wait()
		if got := r.Status().Generation; got != 100 {
			t.Errorf("%d starts, want 100", got)
		}
	})
}

func TestSubscriptionDropsAndCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, repeat(50, fails(errBoom))...), supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: -1}})
		few, all, none := r.Subscribe(3), r.Subscribe(1000), r.Subscribe(-7)
		run := serve(t, r)
		synctest.Wait() // nobody reads, and it goes on all the same
		run.stop(t)
		// 50 runs of 4 events, and one of starting, ready, stopping, exited, stopped.
		if got, want := few.Dropped(), uint64(205-3); got != want {
			t.Errorf("%d dropped, want %d", got, want)
		}
		if got, want := none.Dropped(), uint64(205-1); got != want {
			t.Errorf("%d dropped from the smallest queue, want %d", got, want)
		}
		if got := len(collect(all)); got != 205 || all.Dropped() != 0 {
			t.Errorf("%d events and %d dropped, want 205 and 0", got, all.Dropped())
		}
		few.Close()
		few.Close() // twice is fine
		none.Close()
	})
}

// Subscribing, closing, reading and changing the policy go on while it runs.
// The race detector is the judge.
func TestConcurrentUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, repeat(200, fails(errBoom))...), supervisor.Options{Backoff: supervisor.Backoff{InitialDelay: time.Millisecond}})
		run := serve(t, r)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 100 {
					s := r.Subscribe(2)
					r.SetBackoff(supervisor.Backoff{InitialDelay: time.Duration(i+n) * time.Millisecond})
					r.SetIntensity(supervisor.Intensity{MaxRestarts: 1000 + n})
					time.Sleep(time.Millisecond)
					r.RestartNow()
					_ = r.Status()
					s.Close()
				}
			})
		}
		wg.Wait()
		run.stop(t)
	})
}
