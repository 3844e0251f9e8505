package dispatch_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func cron(expression, zone string) func(*project.Project) {
	return func(p *project.Project) { p.Config.Cron, p.Config.Timezone = expression, zone }
}

func hours(start, end string) func(*project.Project) {
	return func(p *project.Project) {
		p.Config.ActiveHours = &project.ActiveHours{Start: start, End: end, Timezone: "UTC"}
	}
}

func jitter(d time.Duration) func(*project.Project) {
	return func(p *project.Project) { p.Config.Jitter = &d }
}

func paused(p *project.Project) { p.Config.Paused = true }

func berlin(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// wantNext fails the test unless that is when a project is due, and why.
func (f *fixture) wantNext(id string, in time.Duration, why string) {
	f.t.Helper()
	synctest.Wait()
	p := f.Snapshot().Projects[id]
	if got := p.Next.Sub(f.wall()); got != in || p.Why != why {
		f.t.Fatalf("%s is due in %v because of %q, want %v, %q", id, got, p.Why, in, why)
	}
}

func TestCronRunsAtItsTimes(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.sleepUntil("2026-03-27 12:00", berlin(t))
		f.set(agent("a", cron("30 2 * * *", "Europe/Berlin")))
		f.want() // not because it was added
		f.wantNext("a", 14*time.Hour+30*time.Minute, dispatch.WhyCron)
		f.sleepUntil("2026-03-28 02:30", berlin(t))
		f.want("0 run a")
		f.finish(0, 0)
		f.wantNext("a", 24*time.Hour-30*time.Minute, dispatch.WhyCron) // 2:30 does not exist: 3:00
		f.sleepUntil("2026-03-29 03:00", berlin(t))
		f.want("0 run a")
		f.finish(0, 0)
		f.sleepUntil("2026-03-30 02:29", berlin(t))
		f.want()
		f.sleepUntil("2026-03-30 02:30", berlin(t))
		f.want("0 run a")
		f.finish(0, 0)
	})
}

func TestTimesThatPassWhileARunExecutesAreServedOnce(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", cron("0 * * * *", "UTC")))
		time.Sleep(time.Hour)
		f.want("0 run a")
		time.Sleep(5*time.Hour + time.Minute)
		f.finish(0, 0)
		f.want("0 run a")
		f.finish(0, 0)
		f.want()
		f.wantNext("a", 59*time.Minute, dispatch.WhyCron)
	})
}

func TestTimesThatPassWithoutADaemonAreServedOnce(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		a := agent("a", cron("0 * * * *", "UTC"))
		f.set(a)
		time.Sleep(time.Hour)
		f.want("0 run a")
		f.finish(0, 0)
		f.set()
		time.Sleep(30 * time.Minute)
		f.set(a) // as after a start: the store knows the last run
		f.want()
		f.wantNext("a", 30*time.Minute, dispatch.WhyCron)
		f.set()
		time.Sleep(5 * time.Hour)
		f.set(a)
		f.want("0 run a")
		f.finish(0, 0)
		f.want()
	})
}

func TestRunByHandServesTheTimesBeforeIt(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", cron("0 12 * * *", "UTC")))
		time.Sleep(time.Hour)
		if _, err := f.RunNow(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f.want("0 run a")
		f.finish(0, 0)
		f.wantNext("a", 11*time.Hour, dispatch.WhyCron)
	})
}

func TestAnExpressionThatChangesHasMissedNothing(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", cron("0 12 * * *", "UTC")))
		time.Sleep(13 * time.Hour)
		f.want("0 run a")
		f.finish(0, 0)
		time.Sleep(10 * time.Hour)
		f.set(agent("a", cron("0 22 * * *", "UTC"))) // an hour ago
		f.want()
		f.wantNext("a", 23*time.Hour, dispatch.WhyCron)
		f.set(agent("a", every(24*time.Hour))) // from the end of the last run on
		f.wantNext("a", 14*time.Hour, dispatch.WhyInterval)
	})
}

func TestCancelledTimeDoesNotComeAgain(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", cron("0 * * * *", "UTC")))
		time.Sleep(time.Hour)
		f.wantStates("a", "queued")
		if _, err := f.Cancel(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f.wantStates("a", "cancelled")
		f.wantNext("a", time.Hour, dispatch.WhyCron)
	})
}

// The wall clock is set by a year, forward and back: a cron time that was missed
// is served once, and the next one comes when the clock shows it; intervals do
// not notice.
func TestWallClockJumps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{year, -year, 4 * time.Hour, -4 * time.Hour} {
		serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("cron", cron("0 * * * *", "UTC")), agent("every", every(time.Hour)),
				agent("hours", every(20*time.Minute), hours("00:00", "23:59")))
			f.want("0 run every", "1 run hours")
			f.finish(0, 0)
			f.finish(1, 0)
			time.Sleep(10 * time.Minute)
			f.skew.Add(int64(jump))
			time.Sleep(time.Minute) // it looks
			if jump > 0 {
				f.want("0 run cron")
				f.finish(0, 0)
			}
			f.want()
			f.wantNext("cron", 49*time.Minute, dispatch.WhyCron)
			f.wantNext("every", 49*time.Minute, dispatch.WhyInterval)
			f.wantNext("hours", 9*time.Minute, dispatch.WhyInterval)
			f.skew.Add(-int64(jump)) // and back
			time.Sleep(time.Minute)
			if jump < 0 {
				f.want("0 run cron")
				f.finish(0, 0)
			}
			f.want()
			f.wantNext("cron", 48*time.Minute, dispatch.WhyCron)
		})
	}
}

// Set back by less than three hours, as to correct it, no time comes twice.
func TestWallClockIsCorrected(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", cron("0 * * * *", "UTC")))
		time.Sleep(time.Hour)
		f.want("0 run a")
		f.finish(0, 0)
		f.skew.Add(-int64(2 * time.Minute))
		time.Sleep(10 * time.Minute)
		f.want()
		f.wantNext("a", 52*time.Minute, dispatch.WhyCron)
	})
}

// A wallStore keeps times by the wall clock, as a file does, and somebody has set
// that.
type wallStore struct{ runs.Store }

func (s wallStore) Finish(id string, state runs.State, exit runs.Exit, next *runs.Request) (runs.Run, *runs.Run, error) {
	ended, queued, err := s.Store.Finish(id, state, exit, next)
	if queued != nil {
		queued.NotBefore = queued.NotBefore.Add(365 * 24 * time.Hour)
	}
	return ended, queued, err
}

// A retry that waits goes by the monotonic clock, whatever the store keeps of its
// time.
func TestRetriesGoByTheMonotonicClock(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		d := dispatch.New(dispatch.Options{
			Store: wallStore{f.store}, Pool: f, Log: slog.New(slog.DiscardHandler), Settings: defaults(),
			LogPath: func(string) string { return "" },
		})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- d.Serve(ctx) }()
		d.WorkerReady(0, 1)
		if err := d.SetProjects(t.Context(), []project.Project{agent("a")}); err != nil {
			t.Fatal(err)
		}
		f.want("0 run a")
		code := 1
		d.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, ExitCode: &code})
		synctest.Wait()
		if p := d.Snapshot().Projects["a"]; p.Why != string(runs.Retry) {
			t.Errorf("%+v", p)
		}
		time.Sleep(5 * time.Second)
		f.want("0 run a")
		_ = d.SetProjects(t.Context(), nil)
		d.WorkerGone(0, 1)
		synctest.Wait()
		cancel()
		<-served
	})
}

func TestActiveHours(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) { // it is midnight
		f.set(agent("a", every(time.Hour), hours("09:00", "18:00")))
		f.want()
		f.wantNext("a", 9*time.Hour, dispatch.WhyHours)
		time.Sleep(time.Hour)
		if _, err := f.RunNow(t.Context(), "a"); err != nil { // by hand at any time
			t.Fatal(err)
		}
		f.want("0 run a")
		f.finish(0, 1)
		time.Sleep(5 * time.Second)
		f.want("0 run a") // what goes on with it as well
		f.finish(0, 0)
		f.wantNext("a", 8*time.Hour-5*time.Second, dispatch.WhyHours)
		time.Sleep(8*time.Hour - 5*time.Second)
		f.want("0 run a")
		time.Sleep(8*time.Hour + 30*time.Minute) // 17:30
		f.finish(0, 0)
		f.wantNext("a", 15*time.Hour+30*time.Minute, dispatch.WhyHours) // 18:30 is too late
	})
}

func TestRunThatWaitsWhenTheHoursEndWaitsOn(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", hours("00:00", "01:00")))
		f.wantStates("a", "queued")
		time.Sleep(time.Hour)
		f.WorkerReady(0, 1)
		f.want()
		f.wantNext("a", 23*time.Hour, dispatch.WhyHours)
		if p := f.Snapshot().Projects["a"]; p.State != dispatch.StateQueued {
			t.Errorf("state %s", p.State)
		}
		if _, err := f.RunNow(t.Context(), "a"); err != nil { // asks for the one that waits
			t.Fatal(err)
		}
		f.want("0 run a")
	})
}

// What was asked for and waits for a worker outside of the hours waits for
// nothing else: a timer for the end of hours that are over would fire for ever.
func TestRunByHandThatWaitsOutsideOfTheHours(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", hours("09:00", "18:00")))
		if _, err := f.RunNow(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		looks := f.looks.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := f.looks.Load() - looks; n != 0 {
			t.Errorf("looked %d times", n)
		}
		f.WorkerReady(0, 1)
		f.want("0 run a")
	})
}

func TestJitterIsTheSameAfterARestart(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		next := func(p project.Project) time.Time {
			t.Helper()
			f.set(p)
			f.take()
			return f.Snapshot().Projects[p.ID].Next
		}
		a := agent("a", cron("0 12 * * *", "UTC"), jitter(time.Hour))
		noon := f.wall().Truncate(24 * time.Hour).Add(12 * time.Hour)
		first := next(a)
		if off := first.Sub(noon); off < 0 || off >= time.Hour {
			t.Errorf("noon is %v", first)
		}
		time.Sleep(12 * time.Hour) // noon itself
		f.set()
		if off := next(a).Sub(noon) - 24*time.Hour; off < 0 || off >= time.Hour {
			t.Errorf("after noon, without a run before, it is off by %v", off)
		}
		if b := next(agent("b", cron("0 12 * * *", "UTC"), jitter(time.Hour))); b.Equal(next(a)) {
			t.Error("two projects are shifted alike")
		}
	})
}

// Between a time and the moment to which it is shifted, a restart loses nothing.
func TestRestartBeforeTheShiftedTime(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		a := agent("a", cron("0 * * * *", "UTC"), jitter(30*time.Minute))
		f.set(a)
		time.Sleep(90 * time.Minute)
		f.want("0 run a")
		f.finish(0, 0)
		time.Sleep(30 * time.Minute) // the hour itself
		due := f.Snapshot().Projects["a"].Next
		time.Sleep(due.Sub(f.wall()) / 2)
		f.set()
		f.set(a)
		f.take()
		if again := f.Snapshot().Projects["a"].Next; !again.Equal(due) {
			t.Errorf("was due at %v, is at %v", due, again)
		}
	})
}

func TestIntervalIsShiftedToo(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(time.Hour), jitter(10*time.Minute)))
		f.want("0 run a") // the first is not
		f.finish(0, 0)
		in := f.Snapshot().Projects["a"].Next.Sub(f.wall())
		if in < time.Hour || in >= time.Hour+10*time.Minute {
			t.Errorf("due in %v", in)
		}
		time.Sleep(in - time.Millisecond)
		f.want()
		time.Sleep(time.Millisecond)
		f.want("0 run a")
	})
}

func TestPausedProjectKeepsItsQueueAndStartsNothing(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"), agent("c", cron("0 * * * *", "UTC")))
		f.want("0 run a")
		f.set(agent("a", paused), agent("b", paused), agent("c", cron("0 * * * *", "UTC"), paused))
		f.wantStates("b", "queued")
		if p := f.Snapshot().Projects["b"]; p.State != dispatch.StatePaused || p.Run == "" {
			t.Errorf("%+v", p)
		}
		f.finish(0, 1) // what has begun goes on, and is tried again later
		f.wantStates("a", "failed queued")
		run, err := f.RunNow(t.Context(), "c")
		if err != nil || run.State != runs.Queued {
			t.Errorf("%+v, %v", run, err)
		}
		time.Sleep(5 * time.Hour)
		f.want()
		f.set(agent("a"), agent("b"), agent("c", cron("0 * * * *", "UTC")))
		f.want("0 run a")
		f.finish(0, 0)
		f.want("0 run b")
		f.finish(0, 0)
		f.want("0 run c")
		f.finish(0, 0) // the times that it missed are served
		f.want()
	})
}

func TestDefaultCommandMakesProjectsRunnable(t *testing.T) {
	bare := func(p *project.Project) { p.Config.Command = nil }
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", bare))
		f.want()
		if p := f.Snapshot().Projects["a"]; p.State != dispatch.StateNotRunnable {
			t.Errorf("%+v", p)
		}
		s := defaults()
		s.Command = []string{"poppo", "--dir", "{dir}"}
		if err := f.Configure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		f.want("0 run a")
		if got := f.specs[0].Command; len(got) != 3 || got[2] != "/src/a" {
			t.Errorf("%q", got)
		}
	})
}

// At rest nothing wakes up: only who waits for a time on the wall looks there.
func TestNobodyLooksAtTheWallClockForAnInterval(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(24*time.Hour)))
		f.want("0 run a")
		f.finish(0, 0)
		looks := f.looks.Load()
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if n := f.looks.Load() - looks; n != 0 {
			t.Errorf("looked %d times for an interval", n)
		}
		f.set(agent("a", cron("@daily", "UTC")))
		looks = f.looks.Load()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := f.looks.Load() - looks; n == 0 || n > 30*6 { // a few in each round
			t.Errorf("looked %d times in 30 minutes before a time", n)
		}
	})
}
