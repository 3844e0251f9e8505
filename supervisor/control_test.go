package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

func TestRestarterRestartNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScript(t, repeat(5, fails(errBoom))...)
		r := supervisor.NewRestarter(s, supervisor.Options{})
		r.RestartNow() // not served: nothing
		run := serve(t, r)
		sleep(7500 * time.Millisecond) // in the delay from 7 s to 15 s
		r.RestartNow()                 // started at 7.5 s, fails, and waits for 16 s
		sleep(time.Minute)
		r.RestartNow() // runs: nothing
		sleep(time.Minute)
		run.stop(t)
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 7.5, 23.5), s.starts); diff != "" {
			t.Errorf("starts differ (-want +got):\n%s", diff)
		}
	})
}

func TestRestarterSetBackoff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		to   supervisor.Backoff // at 8 s, in the delay from 7 s to 15 s
		want []time.Duration
	}{
		{"no change", supervisor.Backoff{InitialDelay: time.Second, Multiplier: 2}, seconds(0, 1, 3, 7, 15, 31)},
		{"shorter", supervisor.Backoff{MaxDelay: 3 * time.Second}, seconds(0, 1, 3, 7, 10, 11)},
		{"over already", supervisor.Backoff{MaxDelay: time.Second / 2, InitialDelay: time.Second / 4}, seconds(0, 1, 3, 7, 8, 8.25)},
		{"none", supervisor.Backoff{InitialDelay: -1}, seconds(0, 1, 3, 7, 8, 8)},
		{"longer", supervisor.Backoff{InitialDelay: 20 * time.Second}, seconds(0, 1, 3, 7, 15, 35)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t, repeat(5, fails(errBoom))...)
				r := supervisor.NewRestarter(s, supervisor.Options{})
				run := serve(t, r)
				sleep(8 * time.Second)
				r.SetBackoff(tt.to)
				sleep(time.Hour)
				run.stop(t)
				if diff := cmp.Diff(tt.want, s.starts); diff != "" {
					t.Errorf("starts differ (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestRestarterSetIntensity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := supervisor.NewRestarter(newScript(t, repeat(99, fails(errBoom))...), supervisor.Options{})
		run := serve(t, r)
		sleep(8 * time.Second) // 4 failures, which count for nothing
		r.SetIntensity(supervisor.Intensity{MaxRestarts: 1, Within: time.Hour})
		begin := time.Now()
		var gaveUp *supervisor.GaveUpError
		if err := run.wait(); !errors.As(err, &gaveUp) || time.Since(begin) != 23*time.Second {
			t.Errorf("after %v: %v, want to give up at the failure after the next, in 23s", time.Since(begin), err)
		}
	})
}

func TestRestarterStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		epoch := time.Now()
		at := func(s float64) time.Time { return epoch.Add(seconds(s)[0]) }
		s := newScript(t, fails(errBoom), step{ready: 2 * time.Second, run: 3 * time.Second, end: returns(nil)}, step{ready: time.Second})
		r := supervisor.NewRestarter(s, supervisor.Options{Name: "db"})
		check := func(want supervisor.Status) {
			t.Helper()
			synctest.Wait()
			want.Name = "db"
			if diff := cmp.Diff(want, r.Status(), cmpopts.EquateErrors()); diff != "" {
				t.Errorf("status at %v differs (-want +got):\n%s", time.Since(epoch), diff)
			}
		}
		check(supervisor.Status{State: supervisor.StateIdle, Since: epoch})
		run := serve(t, r)
		check(supervisor.Status{
			State: supervisor.StateBackoff, Since: epoch, Generation: 1,
			Trouble: &supervisor.Trouble{Consecutive: 1, LastError: errBoom, LastExit: epoch, NextTry: at(1)},
		})
		sleep(time.Second)
		check(supervisor.Status{
			State: supervisor.StateStarting, Since: at(1), Generation: 2, Restarts: 1,
			Trouble: &supervisor.Trouble{Consecutive: 1, LastError: errBoom, LastExit: epoch},
		})
		sleep(2 * time.Second)
		check(supervisor.Status{
			State: supervisor.StateReady, Since: at(3), Generation: 2, Restarts: 1,
			Trouble: &supervisor.Trouble{Consecutive: 1, LastError: errBoom, LastExit: epoch},
		})
		sleep(time.Second)
		check(supervisor.Status{
			State: supervisor.StateBackoff, Since: at(4), Generation: 2, Restarts: 1,
			Trouble: &supervisor.Trouble{Consecutive: 2, LastExit: at(4), NextTry: at(6)},
		})
		sleep(3*time.Second + time.Minute - 1)
		check(supervisor.Status{
			State: supervisor.StateReady, Since: at(7), Generation: 3, Restarts: 2,
			Trouble: &supervisor.Trouble{Consecutive: 2, LastExit: at(4)},
		})
		sleep(1)
		check(supervisor.Status{
			State: supervisor.StateReady, Since: at(7), Generation: 3, Restarts: 2,
			Trouble: &supervisor.Trouble{LastExit: at(4)},
		})
		run.stop(t)
		check(supervisor.Status{
			State: supervisor.StateIdle, Since: at(67), Generation: 3, Restarts: 2,
			Trouble: &supervisor.Trouble{LastExit: at(4)},
		})
	})
}

// A late or repeated call of ready, from whatever goroutine, has no effect on
// the generations that follow.
func TestRestarterReadyTooLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls []func()
		r := supervisor.NewRestarter(readyFunc(func(ctx context.Context, ready func()) error {
			if calls = append(calls, ready); len(calls) < 3 {
				return errBoom
			}
			<-ctx.Done()
			ready()
			return nil
		}), supervisor.Options{})
		events := r.Subscribe(99)
		run := serve(t, r)
		synctest.Wait()
		calls[0]() // in the delay
		sleep(3 * time.Second)
		calls[0]()
		calls[1]() // of earlier generations
		if got := r.Status().State; got != supervisor.StateStarting {
			t.Errorf("state = %v, want starting", got)
		}
		calls[2]()
		calls[2]()
		run.stop(t)
		calls[2]()
		events.Close()
		var ready int
		for e := range events.Events() {
			if e.Kind == supervisor.EventReady {
				ready++
			}
		}
		if ready != 1 {
			t.Errorf("ready %d times, want once", ready)
		}
	})
}

type readyFunc func(ctx context.Context, ready func()) error

func (f readyFunc) Serve(ctx context.Context) error { panic("Serve of a ReadyService was called") }
func (f readyFunc) ServeReady(ctx context.Context, ready func()) error {
	return f(ctx, ready)
}
