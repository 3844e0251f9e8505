package supervisor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

func TestRestarterPolicies(t *testing.T) {
	t.Parallel()
	wrapped := errors.Join(errors.New("done"), supervisor.ErrDoNotRestart)
	terminate := errors.Join(errors.New("fatal"), supervisor.ErrTerminateTree)
	odd := func(err error) bool { return errors.Is(err, errBoom) }
	const restarts, ends = true, false
	tests := []struct {
		name   string
		policy supervisor.Restart
		normal func(error) bool
		end    func() error
		want   bool
	}{
		{"permanent nil", supervisor.Permanent, nil, returns(nil), restarts},
		{"permanent error", supervisor.Permanent, nil, returns(errBoom), restarts},
		{"permanent panic", supervisor.Permanent, nil, panics(errBoom), restarts},
		{"permanent foreign context", supervisor.Permanent, nil, returns(context.Canceled), restarts},
		{"permanent do not restart", supervisor.Permanent, nil, returns(wrapped), ends},
		{"permanent terminate", supervisor.Permanent, nil, returns(terminate), ends},
		{"permanent panic with do not restart", supervisor.Permanent, nil, panics(wrapped), restarts},
		{"permanent asks nobody", supervisor.Permanent, odd, returns(errBoom), restarts},
		{"transient nil", supervisor.Transient, nil, returns(nil), ends},
		{"transient error", supervisor.Transient, nil, returns(errBoom), restarts},
		{"transient panic", supervisor.Transient, nil, panics("oh"), restarts},
		{"transient do not restart", supervisor.Transient, nil, returns(wrapped), ends},
		{"transient own normal", supervisor.Transient, odd, returns(errBoom), ends},
		{"transient own normal without nil", supervisor.Transient, odd, returns(nil), restarts},
		{"transient panic is never normal", supervisor.Transient, odd, panics(errBoom), restarts},
		{"temporary nil", supervisor.Temporary, nil, returns(nil), ends},
		{"temporary error", supervisor.Temporary, nil, returns(errBoom), ends},
		{"temporary panic", supervisor.Temporary, nil, panics("oh"), ends},
		{"temporary host", supervisor.Temporary, nil, returns(hostError{}), ends},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t, step{end: tt.end})
				r := supervisor.NewRestarter(s, supervisor.Options{Restart: tt.policy, Normal: tt.normal})
				run := serve(t, r)
				sleep(time.Hour)
				if tt.want == restarts {
					if got := r.Status(); got.State != supervisor.StateReady || got.Restarts != 1 {
						t.Errorf("status = %+v, want ready after one restart", got)
					}
					run.stop(t)
					return
				}
				if got := r.Status(); got.State != supervisor.StateEnded || got.Restarts != 0 {
					t.Errorf("status = %+v, want ended without a restart", got)
				}
				err := run.wait()
				if !errors.Is(err, supervisor.ErrDoNotRestart) && !errors.Is(err, supervisor.ErrTerminateTree) {
					t.Errorf("Serve = %v, want an error that ends it for suture too", err)
				}
				if last := troubleOf(r.Status()).LastError; last != nil && !errors.Is(err, last) {
					t.Errorf("Serve = %v, want it to wrap %v", err, last)
				}
			})
		})
	}
}

// hostError is the host's trouble, by shape.
type hostError struct{}

func (hostError) Error() string { return "too many open files" }
func (hostError) Host() bool    { return true }

func TestRestarterHostTrouble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		host := step{ready: -1, end: returns(hostError{})}
		steps := append(repeat(5, host), fails(errBoom), host, fails(errBoom))
		s := newScript(t, steps...)
		r := supervisor.NewRestarter(s, supervisor.Options{Intensity: supervisor.Intensity{MaxRestarts: 2, Within: time.Hour}})
		run := serve(t, r)
		sleep(31 * time.Second)
		if got := r.Status(); troubleOf(got).Consecutive != 1 || got.Restarts != 5 {
			t.Errorf("status = %+v, want 1 failure after 5 restarts", got)
		}
		sleep(time.Hour)
		if got := r.Status().State; got != supervisor.StateReady {
			t.Errorf("state = %v, want ready: two failures are allowed", got)
		}
		run.stop(t)
		// The host's delays 1 2 4 8 16, then each sequence at its own step.
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 15, 31, 32, 33, 35), s.starts); diff != "" {
			t.Errorf("starts differ (-want +got):\n%s", diff)
		}
	})
}

func TestRestarterGivesUp(t *testing.T) {
	t.Parallel()
	noDelay := supervisor.Backoff{InitialDelay: -1}
	second := step{run: time.Second, end: returns(errBoom)}
	tests := []struct {
		name  string
		limit supervisor.Intensity
		steps []step
		want  int // starts; 0: it does not give up
	}{
		{"no limit", supervisor.Intensity{}, repeat(1000, fails(errBoom)), 0},
		{"none allowed", supervisor.Intensity{MaxRestarts: -1}, repeat(9, fails(errBoom)), 1},
		{"one allowed", supervisor.Intensity{MaxRestarts: 1}, repeat(9, fails(errBoom)), 2},
		{"five allowed", supervisor.Intensity{MaxRestarts: 5}, repeat(9, fails(errBoom)), 6},
		{"just within", supervisor.Intensity{MaxRestarts: 2, Within: 2 * time.Second}, repeat(9, second), 3},
		{"just outside", supervisor.Intensity{MaxRestarts: 2, Within: 2*time.Second - 1}, repeat(9, second), 0},
		{"default period", supervisor.Intensity{MaxRestarts: 1}, []step{fails(errBoom), {run: time.Minute, end: returns(errBoom)}}, 2},
		{"over the default period", supervisor.Intensity{MaxRestarts: 1}, []step{fails(errBoom), {run: time.Minute + 1, end: returns(errBoom)}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newScript(t, tt.steps...)
				r := supervisor.NewRestarter(s, supervisor.Options{Name: "web", Backoff: noDelay, Intensity: tt.limit})
				run := serve(t, r)
				sleep(time.Hour)
				if tt.want == 0 {
					if got := len(s.starts); got != len(tt.steps)+1 {
						t.Errorf("%d starts, want %d", got, len(tt.steps)+1)
					}
					run.stop(t)
					return
				}
				err := run.wait()
				var gaveUp *supervisor.GaveUpError
				if !errors.As(err, &gaveUp) {
					t.Fatalf("Serve = %v, want a *GaveUpError", err)
				}
				within := tt.limit.Within
				if within == 0 {
					within = time.Minute
				}
				want := supervisor.GaveUpError{Name: "web", Restarts: tt.want - 1, Within: within, Last: errBoom}
				if *gaveUp != want {
					t.Errorf("Serve = %+v, want %+v", *gaveUp, want)
				}
				if !errors.Is(err, supervisor.ErrDoNotRestart) || !errors.Is(err, errBoom) {
					t.Errorf("%v wraps too little", err)
				}
				if got := r.Status(); got.State != supervisor.StateGaveUp || got.Generation != uint64(tt.want) {
					t.Errorf("status = %+v, want gave-up after %d starts", got, tt.want)
				}
			})
		})
	}
}
