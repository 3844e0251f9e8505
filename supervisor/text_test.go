package supervisor_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

func TestParseRestart(t *testing.T) {
	t.Parallel()
	for _, p := range []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
		if got, err := supervisor.ParseRestart(p.String()); err != nil || got != p {
			t.Errorf("ParseRestart(%q) = %v, %v", p, got, err)
		}
	}
	for _, s := range []string{"", "Permanent", "always", "Restart(3)"} {
		_, err := supervisor.ParseRestart(s)
		if err == nil || !strings.Contains(err.Error(), "want permanent, transient or temporary") {
			t.Errorf("ParseRestart(%q): error %v, want one that names the choice", s, err)
		}
	}
}

func TestStringsAreDistinct(t *testing.T) {
	t.Parallel()
	distinct(t, "State", supervisor.StateIdle, supervisor.StateAbandoned)
	distinct(t, "EventKind", supervisor.EventStarting, supervisor.EventDeleted)
	distinct(t, "Strategy", supervisor.OneForOne, supervisor.RestForOne)
	distinct(t, "AutoShutdown", supervisor.Never, supervisor.AllSignificant)
	distinct(t, "Restart", supervisor.Permanent, supervisor.Temporary)
}

func distinct[T interface {
	~int | ~int8
	fmt.Stringer
}](t *testing.T, typ string, first, last T) {
	t.Helper()
	seen := map[string]bool{}
	for v := first; v <= last; v++ {
		if s := v.String(); seen[s] || strings.Contains(s, "(") {
			t.Errorf("%s %d is called %q", typ, int(v), s)
		} else {
			seen[s] = true
		}
	}
	if got, want := (last + 1).String(), fmt.Sprintf("%s(%d)", typ, int(last+1)); got != want {
		t.Errorf("after the last there is %q, want %q", got, want)
	}
}

// Numbers that make no sense give a delay within bounds, and never a hot loop.
func TestBackoffOddNumbers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		b    supervisor.Backoff
		want time.Duration // the third delay; 0: any
	}{
		{supervisor.Backoff{Multiplier: math.Inf(1)}, 30 * time.Second},
		{supervisor.Backoff{Multiplier: math.NaN()}, time.Second},
		{supervisor.Backoff{Multiplier: -3}, time.Second},
		{supervisor.Backoff{Jitter: math.NaN()}, 4 * time.Second},
		{supervisor.Backoff{Jitter: -1}, 4 * time.Second},
		{supervisor.Backoff{MaxDelay: -1}, 4 * time.Second},
		{supervisor.Backoff{InitialDelay: math.MaxInt64, MaxDelay: math.MaxInt64}, math.MaxInt64 / 4},
		{supervisor.Backoff{InitialDelay: math.MaxInt64, MaxDelay: math.MaxInt64, Jitter: 1e-9}, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%+v", tt.b), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := supervisor.NewRestarter(newScript(t, repeat(3, fails(errBoom))...), supervisor.Options{Backoff: tt.b})
				events := r.Subscribe(99)
				run := serve(t, r)
				for range 2 {
					synctest.Wait()
					r.RestartNow()
				}
				synctest.Wait()
				run.stop(t)
				events.Close()
				var got []time.Duration
				for e := range events.Events() {
					if e.Kind == supervisor.EventBackingOff {
						got = append(got, e.Delay)
					}
				}
				if len(got) != 3 || (got[2] != tt.want && tt.want != 0) || slices.Min(got) < 0 {
					t.Errorf("delays = %v, want three, and %v last", got, tt.want)
				}
			})
		})
	}
}
