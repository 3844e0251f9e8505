package dispatch_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

func sliced(d time.Duration) dispatch.Settings {
	s := defaults()
	s.TimeSlice = d
	return s
}

// stopped reports that the run of a worker ended because it was asked to.
func (f *fixture) stopped(n int, reason string) {
	f.t.Helper()
	f.RunFinished(n, 1, ipc.Finished{Run: f.lastRun(n).ID, Signal: "SIGTERM", Reason: reason})
}

func TestRunMakesWayWhenItsSliceIsOverAndSomebodyWaits(t *testing.T) {
	serve(t, 1, sliced(time.Minute), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(0)), agent("b", every(0)))
		f.want("0 run a")
		time.Sleep(time.Minute - time.Nanosecond)
		f.want()
		time.Sleep(time.Nanosecond)
		f.want("0 cancel preempted")
		f.stopped(0, "preempted")
		f.want("0 run b")
		f.wantStates("a", "preempted queued")
		list := f.store.List(runs.Filter{Project: "a"})
		if next, was := list[0], list[1]; next.Origin != was.ID || next.Attempt != 1 || next.Failures != 0 || next.Reason != runs.Preemption || !next.NotBefore.IsZero() {
			t.Errorf("goes on as %+v", next)
		}
		time.Sleep(time.Minute)
		f.want("0 cancel preempted")
		f.stopped(0, "preempted")
		f.want("0 run a")
		if got := f.specs[2].Env["POPPOBUILDER_REASON"] + f.specs[2].Env["POPPOBUILDER_ATTEMPT"]; got != "preempted1" {
			t.Errorf("the command is told %s", got)
		}
	})
}

func TestRunGoesOnUntilSomebodyWaits(t *testing.T) {
	serve(t, 1, sliced(time.Minute), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		time.Sleep(time.Hour)
		f.want()
		f.set(agent("a"), agent("b"))
		f.want("0 cancel preempted") // at once: it has had its slice long ago
	})
}

func TestNoMoreMakeWayThanWait(t *testing.T) {
	serve(t, 3, sliced(time.Minute), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"), agent("c"))
		f.want("0 run a", "1 run b", "2 run c")
		time.Sleep(time.Hour)
		f.set(agent("a"), agent("b"), agent("c"), agent("d"))
		f.want("0 cancel preempted")
		f.set(agent("a"), agent("b"), agent("c"), agent("d"), agent("e"))
		f.want("1 cancel preempted")
		f.finish(2, 0) // somebody ends by himself
		f.want("2 run d")
		f.stopped(0, "preempted")
		f.want("0 run e")
		f.stopped(1, "preempted")
		f.want("1 run a")
		f.wantStates("b", "preempted queued")
	})
}

func TestProjectsOwnSliceWins(t *testing.T) {
	own := func(d time.Duration) func(*project.Project) {
		return func(p *project.Project) { p.Config.TimeSlice = &d }
	}
	serve(t, 1, sliced(time.Minute), func(t *testing.T, f *fixture) {
		f.set(agent("a", own(0)), agent("b"))
		f.want("0 run a")
		time.Sleep(time.Hour)
		f.want()
		f.set(agent("a", own(2*time.Hour)), agent("b")) // counts from the start of the run
		time.Sleep(time.Hour - time.Nanosecond)
		f.want()
		time.Sleep(time.Nanosecond)
		f.want("0 cancel preempted")
	})
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"))
		f.want("0 run a")
		time.Sleep(time.Hour)
		f.want()
		if err := f.Configure(t.Context(), sliced(time.Minute)); err != nil {
			t.Fatal(err)
		}
		f.want("0 cancel preempted")
	})
}

// A slice is a turn: who would be chosen again goes on.
func TestTheStrategyDecidesWhetherARunGoesOn(t *testing.T) {
	s := sliced(time.Minute)
	s.Strategy = schedule.Fair
	weight := func(w float64) func(*project.Project) { return func(p *project.Project) { p.Config.Weight = w } }
	serve(t, 1, s, func(t *testing.T, f *fixture) {
		f.set(agent("a", weight(3), every(0)), agent("b", weight(1), every(0)))
		f.want("0 run a")
		had := map[string]time.Duration{}
		now := "a"
		for range 400 {
			time.Sleep(time.Minute)
			had[now] += time.Minute
			switch told := f.take(); {
			case len(told) == 0:
			case slices.Equal(told, []string{"0 cancel preempted"}):
				f.stopped(0, "preempted")
				if told = f.take(); len(told) != 1 {
					t.Fatalf("%q", told)
				}
				next := told[0][len("0 run "):]
				if next == now {
					t.Fatalf("%s had to make way for itself", now)
				}
				now = next
			default:
				t.Fatalf("%q", told)
			}
		}
		if ratio := had["a"].Seconds() / had["b"].Seconds(); ratio < 2.9 || ratio > 3.1 {
			t.Errorf("a had %v, b %v", had["a"], had["b"])
		}
	})
}

func TestWhatWinsOverMakingWay(t *testing.T) {
	limit := time.Minute + time.Second
	for name, test := range map[string]struct {
		do   func(f *fixture)
		want string
	}{
		"it does nothing but make way": {func(f *fixture) { f.stopped(0, "preempted") }, "preempted queued"},
		"the worker gives no reason":   {func(f *fixture) { f.stopped(0, "") }, "preempted queued"},
		"it ended by itself":           {func(f *fixture) { f.finish(0, 0) }, "succeeded"},
		"it timed out":                 {func(f *fixture) { f.stopped(0, "timeout") }, "timed-out queued"},
		"it is cancelled meanwhile": {func(f *fixture) {
			go f.Cancel(context.Background(), "a")
			f.want() // it is being stopped already
			f.stopped(0, "preempted")
		}, "cancelled"},
		"it ignores TERM, and its worker is killed": {func(f *fixture) {
			time.Sleep(dispatch.Grace + 5*time.Second)
			f.want("0 replace")
			f.WorkerGone(0, 1)
		}, "preempted queued"},
		"its worker dies": {func(f *fixture) { f.WorkerGone(0, 1) }, "preempted queued"},
		"the project is disabled meanwhile": {func(f *fixture) {
			f.set(agent("a", func(p *project.Project) { p.Enabled = false }), agent("b"))
			f.stopped(0, "preempted")
		}, "preempted"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, 1, sliced(time.Minute), func(t *testing.T, f *fixture) {
				f.set(agent("a", func(p *project.Project) { p.Config.RunTimeout = &limit }), agent("b"))
				f.want("0 run a")
				time.Sleep(time.Minute)
				f.want("0 cancel preempted")
				test.do(f)
				f.wantStates("a", test.want)
			})
		})
	}
}

// What a disabled project's run would lose is not taken from it; a paused one's
// is kept.
func TestWhoseRunsMakeWay(t *testing.T) {
	off := func(p *project.Project) { p.Enabled = false }
	serve(t, 1, sliced(time.Minute), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"))
		f.want("0 run a")
		f.set(agent("a", off), agent("b"))
		time.Sleep(time.Hour)
		f.want()
		f.set(agent("a", paused), agent("b"))
		f.want("0 cancel preempted")
		f.stopped(0, "preempted")
		f.want("0 run b")
		f.finish(0, 0)
		f.want()
		f.wantStates("a", "preempted queued")
	})
}
