package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

// A fixture is a dispatcher between a store in memory and a pool that only
// writes down what it is told. Everything happens in fake time.
type fixture struct {
	*dispatch.Dispatcher
	t     *testing.T
	store *runs.Memory
	skew  atomic.Int64 // how far the wall clock is off, in nanoseconds
	looks atomic.Int64 // how often somebody looked at it

	mu       sync.Mutex
	sent     []string // "0 run a", "0 cancel a", "0 replace"
	specs    []ipc.RunSpec
	projects []project.Project
}

func (f *fixture) Send(n int, _ uint64, b ipc.Body) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch m := b.(type) {
	case ipc.Run:
		f.specs = append(f.specs, m.Run)
		f.sent = append(f.sent, fmt.Sprintf("%d run %s", n, m.Run.Project))
	case ipc.Cancel:
		f.sent = append(f.sent, fmt.Sprintf("%d cancel %s", n, m.Reason))
	}
}

func (f *fixture) Replace(n int, _ uint64, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, fmt.Sprintf("%d replace", n))
}

// take returns what the pool was told since the last call, once everything has
// come to rest.
func (f *fixture) take() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := f.sent
	f.sent = nil
	return sent
}

// want fails the test unless the pool was told just this.
func (f *fixture) want(want ...string) {
	f.t.Helper()
	if got := f.take(); !slices.Equal(got, want) {
		f.t.Fatalf("pool was told %q, want %q", got, want)
	}
}

// finish reports the end of the run that worker n got last.
func (f *fixture) finish(n int, code int) {
	f.t.Helper()
	f.RunFinished(n, 1, ipc.Finished{Run: f.lastRun(n).ID, ExitCode: &code})
	synctest.Wait()
}

func (f *fixture) lastRun(n int) runs.Run {
	f.t.Helper()
	synctest.Wait()
	list := f.store.List(runs.Filter{State: runs.Running})
	for _, run := range list {
		if *run.Worker == n {
			return run
		}
	}
	f.t.Fatalf("worker %d has no run; running are %v", n, list)
	return runs.Run{}
}

// states returns the states of a project's runs, the oldest first.
func (f *fixture) states(id string) string {
	synctest.Wait()
	var states []string
	for _, run := range f.store.List(runs.Filter{Project: id}) {
		states = append(states, string(run.State))
	}
	slices.Reverse(states)
	return strings.Join(states, " ")
}

func (f *fixture) wantStates(id, want string) {
	f.t.Helper()
	if got := f.states(id); got != want {
		f.t.Fatalf("runs of %s: %s, want %s", id, got, want)
	}
}

func (f *fixture) set(projects ...project.Project) {
	f.t.Helper()
	f.projects = projects
	if err := f.SetProjects(f.t.Context(), projects); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wall() time.Time {
	f.looks.Add(1)
	return time.Now().Round(0).Add(time.Duration(f.skew.Load()))
}

// sleepUntil sleeps until the wall clock shows a time, as in "2026-03-29 01:00".
func (f *fixture) sleepUntil(text string, zone *time.Location) {
	f.t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
	if err != nil {
		f.t.Fatal(err)
	}
	time.Sleep(at.Sub(f.wall()))
}

func defaults() dispatch.Settings {
	return dispatch.Settings{Interval: time.Minute, RetryAttempts: 2, RetryDelay: 5 * time.Second}
}

// serve runs test with a dispatcher that has some idle workers of generation 1.
func serve(t *testing.T, workers int, s dispatch.Settings, test func(*testing.T, *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, store: runs.NewMemory(0)}
		f.Dispatcher = dispatch.New(dispatch.Options{
			Store:     f.store,
			Pool:      f,
			Log:       slog.New(slog.DiscardHandler),
			LogPath:   func(id string) string { return "/logs/" + id + ".log" },
			Settings:  s,
			WallClock: f.wall,
		})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- f.Serve(ctx) }()
		for n := range workers {
			f.WorkerReady(n, 1)
		}
		test(t, f)
		f.set() // no alarm outlives the test
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve returned %v", err)
		}
		f.Close()
	})
}

func agent(id string, edit ...func(*project.Project)) project.Project {
	p := project.Project{ID: id, Path: "/src/" + id, Enabled: true, Config: project.DefaultConfig()}
	p.Config.Command = []string{"true"}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func every(d time.Duration) func(*project.Project) {
	return func(p *project.Project) { p.Config.CheckInterval = &d }
}

func TestNewProjectIsDueAtOnceAndThenAfterItsInterval(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		time.Sleep(10 * time.Second) // the run takes its time; the interval starts at its end
		f.finish(0, 0)
		time.Sleep(time.Minute - time.Nanosecond)
		f.want()
		time.Sleep(time.Nanosecond)
		f.want("0 run a")
		f.finish(0, 0)
		f.wantStates("a", "succeeded succeeded")
	})
}

func TestIntervalZeroMakesAService(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(0)))
		for range 3 {
			f.want("0 run a")
			f.finish(0, 0)
		}
	})
}

func TestIntervalThatChangesMovesTheNextRun(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.finish(0, 0)
		time.Sleep(10 * time.Second)
		f.set(agent("a", every(20*time.Second)))
		time.Sleep(10*time.Second - time.Nanosecond)
		f.want()
		time.Sleep(time.Nanosecond)
		f.want("0 run a")
	})
}

func TestIdleWorkersTakeTurns(t *testing.T) {
	serve(t, 3, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(0)))
		for _, n := range []int{0, 1, 2, 0} {
			f.want(fmt.Sprintf("%d run a", n))
			f.finish(n, 0)
		}
	})
}

func TestNeverTwoRunsOfOneProject(t *testing.T) {
	serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		first, err := f.RunNow(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		second, err := f.RunNow(t.Context(), "a")
		if err != nil || second.ID != first.ID {
			t.Errorf("asking again gave %v, %v, want the run %s that waits", second.ID, err, first.ID)
		}
		f.want()
		f.finish(0, 0)
		f.want("1 run a")
		f.finish(1, 0)
		f.wantStates("a", "succeeded succeeded")
	})
}

func TestFailuresAreRetriedWithBackoffAndThenWaitForTheInterval(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		for _, wait := range []time.Duration{0, 5 * time.Second, 10 * time.Second, time.Minute} {
			if wait > 0 {
				time.Sleep(wait - time.Nanosecond)
				f.want()
				time.Sleep(time.Nanosecond)
			}
			f.want("0 run a")
			f.finish(0, 1)
		}
		got := f.store.List(runs.Filter{Project: "a"})
		slices.Reverse(got)
		var attempts []int
		for _, run := range got[:4] {
			attempts = append(attempts, run.Attempt)
			if wantOrigin := got[0].ID; run.Attempt > 1 && run.Origin != wantOrigin {
				t.Errorf("attempt %d has origin %s, want %s", run.Attempt, run.Origin, wantOrigin)
			}
		}
		if want := []int{1, 2, 3, 1}; !slices.Equal(attempts, want) {
			t.Errorf("attempts %v, want %v", attempts, want)
		}
	})
}

func TestAskingForARetryThatWaitsStartsItNow(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.finish(0, 1)
		f.want()
		run, err := f.RunNow(t.Context(), "a")
		if err != nil || run.Attempt != 2 {
			t.Fatalf("RunNow gave attempt %d, %v, want the second attempt", run.Attempt, err)
		}
		f.want("0 run a")
	})
}

// Each run that was accepted is tried again, also while another one waits. Then
// two wait, and never more, however often somebody asks.
func TestAskedForWhileOneFails(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		for range 2 * (1 + defaults().RetryAttempts) { // of two origins, each with its retries
			for range 3 {
				if _, err := f.RunNow(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			f.finish(0, 1)
			waiting := len(f.store.List(runs.Filter{State: runs.Queued})) + len(f.store.List(runs.Filter{State: runs.Running}))
			if waiting > 2 {
				t.Fatalf("%d runs wait or run: %s", waiting, f.states("a"))
			}
			time.Sleep(time.Hour)
			f.take()
		}
	})
}

func TestRunWhoseWorkerDiesIsTriedAgainWithoutCountingAsFailure(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.WorkerGone(0, 1)
		f.WorkerReady(0, 1)
		f.wantStates("a", "interrupted queued")
		time.Sleep(5 * time.Second)
		f.want("0 run a")
		if run := f.lastRun(0); run.Attempt != 2 || run.Failures != 0 || run.Reason != runs.Interruption {
			t.Errorf("got attempt %d after %d failures because of %s", run.Attempt, run.Failures, run.Reason)
		}
	})
}

func TestOldGenerationsAreNotHeard(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		run := f.lastRun(0)
		f.WorkerGone(0, 7)
		code := 0
		f.RunFinished(0, 7, ipc.Finished{Run: run.ID, ExitCode: &code})
		f.RunFinished(0, 1, ipc.Finished{Run: "other", ExitCode: &code})
		f.wantStates("a", "running")
	})
}

func TestCancel(t *testing.T) {
	t.Run("running", func(t *testing.T) {
		serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("a"))
			f.want("0 run a")
			ended := make(chan runs.Run)
			go func() {
				run, err := f.Cancel(context.Background(), "a")
				if err != nil {
					t.Error(err)
				}
				ended <- run
			}()
			f.want("0 cancel cancelled")
			f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, Signal: "SIGTERM", Reason: "cancelled"})
			if run := <-ended; run.State != runs.Cancelled {
				t.Errorf("ended as %s", run.State)
			}
			time.Sleep(time.Minute)
			f.want("0 run a")
		})
	})
	t.Run("queued", func(t *testing.T) {
		serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("a"))
			run, err := f.Cancel(t.Context(), "a")
			if err != nil || run.State != runs.Cancelled {
				t.Errorf("got %v, %v", run.State, err)
			}
			f.wantStates("a", "cancelled")
			if _, err := f.Cancel(t.Context(), "a"); !errors.Is(err, dispatch.ErrNothingToCancel) {
				t.Errorf("second cancel: %v", err)
			}
		})
	})
	t.Run("worker that does not obey is replaced", func(t *testing.T) {
		serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("a"))
			f.want("0 run a")
			go f.Cancel(t.Context(), "a")
			f.want("0 cancel cancelled")
			time.Sleep(time.Minute)
			f.want("0 replace")
			f.WorkerGone(0, 1)
			f.wantStates("a", "cancelled")
		})
	})
}

func TestTimeoutIsKeptByTheWorkerAndEnforcedBehindIt(t *testing.T) {
	limit := time.Minute
	timed := func(p *project.Project) { p.Config.RunTimeout = &limit }
	t.Run("the worker keeps it", func(t *testing.T) {
		serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("a", timed))
			f.want("0 run a")
			if got := f.specs[0].TimeoutMS; got != limit.Milliseconds() {
				t.Errorf("timeoutMs is %d", got)
			}
			time.Sleep(limit)
			f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, Signal: "SIGTERM", Reason: "timeout"})
			f.wantStates("a", "timed-out queued")
		})
	})
	t.Run("the worker does not", func(t *testing.T) {
		serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
			f.set(agent("a", timed))
			f.want("0 run a")
			time.Sleep(limit + 10*time.Second)
			f.want("0 cancel timeout")
			time.Sleep(time.Minute)
			f.want("0 replace")
			f.WorkerGone(0, 1)
			f.wantStates("a", "timed-out queued")
		})
	})
}

func TestDrain(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"))
		f.want("0 run a")
		if err := f.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := f.RunNow(t.Context(), "b"); !errors.Is(err, dispatch.ErrStopping) {
			t.Errorf("RunNow while draining: %v", err)
		}
		code := 0
		f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, ExitCode: &code, Reason: "shutdown"})
		f.wantStates("a", "interrupted queued")
		f.wantStates("b", "queued")
		time.Sleep(time.Hour)
		f.want()
	})
}

func TestDisabledProjectLosesItsQueueAndKeepsItsRun(t *testing.T) {
	disabled := func(p *project.Project) { p.Enabled = false }
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"))
		f.want("0 run a")
		f.set(agent("a", disabled), agent("b", disabled))
		f.wantStates("a", "running")
		f.wantStates("b", "cancelled")
		if _, err := f.RunNow(t.Context(), "b"); !errors.Is(err, dispatch.ErrDisabled) {
			t.Errorf("RunNow of a disabled project: %v", err)
		}
		f.finish(0, 0)
		time.Sleep(time.Hour)
		f.want()
		f.set(agent("a", disabled), agent("b"))
		f.want("0 run b")
	})
}

func TestRemovedProjectIsStoppedAndForgotten(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.set()
		f.want("0 cancel cancelled")
		if _, err := f.RunNow(t.Context(), "a"); !errors.Is(err, project.ErrNotFound) {
			t.Errorf("RunNow of a removed project: %v", err)
		}
		f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, Signal: "SIGTERM", Reason: "cancelled"})
		f.wantStates("a", "cancelled")
		f.set(agent("a"))
		f.want("0 run a")
	})
}

func TestProjectAddedAgainWhileItsRunStopsRunsAtOnceAfterwards(t *testing.T) {
	serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.set()
		f.set(agent("a"))
		f.want("0 cancel cancelled")
		f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, Signal: "SIGTERM", Reason: "cancelled"})
		f.want("1 run a")
	})
}

func TestStrategyChangesWithoutLosingWhatWaits(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		urgent := func(p *project.Project) { p.Config.Priority = 90 }
		f.set(agent("a"), agent("b"), agent("c", urgent))
		s := defaults()
		s.Strategy = schedule.Priority
		if err := f.Configure(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got := f.Snapshot(); got.Strategy != "priority" || got.Queued != 3 {
			t.Errorf("snapshot says %s with %d queued", got.Strategy, got.Queued)
		}
		f.WorkerReady(0, 1)
		f.want("0 run c")
		f.finish(0, 0)
		f.want("0 run a")
		f.finish(0, 0)
		f.want("0 run b")
	})
}

func TestRetiredWorkerFinishesFirst(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", every(0)))
		f.want("0 run a")
		idle := make(chan struct{})
		f.Retire(0, func() { close(idle) })
		synctest.Wait()
		select {
		case <-idle:
			t.Fatal("retired while it had a run")
		default:
		}
		f.finish(0, 0)
		<-idle
		f.want()
	})
}

// A worker that is to go may have been about to become ready. The next one with
// its number is another.
func TestWorkerThatBecomesReadyWhileItLeavesGetsNothing(t *testing.T) {
	for name, leave := range map[string]func(*fixture){
		"retired": func(f *fixture) { f.Retire(0, func() {}) },
		"leaving": func(f *fixture) { f.WorkerLeaving(0) },
		"restarted": func(f *fixture) { // before anybody could keep it from that
			f.WorkerReady(0, 1)
			f.Retire(0, func() {})
			f.WorkerGone(0, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
				leave(f)
				f.WorkerReady(0, 2)
				f.set(agent("a"))
				f.want()
				f.WorkerGone(0, 2)
				f.WorkerRemoved(0)
				f.WorkerReady(0, 3)
				f.want("0 run a")
			})
		})
	}
}

// A worker that somebody told to shut down is about to end, whoever it was.
func TestWorkerThatShutsDownGetsNothingMore(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"), agent("b"))
		f.want("0 run a")
		f.RunFinished(0, 1, ipc.Finished{Run: f.lastRun(0).ID, Signal: "SIGTERM", Reason: "shutdown"})
		f.want()
		f.wantStates("b", "queued")
		f.WorkerGone(0, 1)
		f.WorkerReady(0, 1)
		f.want("0 run b")
		f.finish(0, 0)
		f.want("0 run a")
	})
}

// A refusingStore lets no run start for a while.
type refusingStore struct {
	runs.Store
	refuse atomic.Bool
}

func (s *refusingStore) Claim(id string, n int) (runs.Run, error) {
	if s.refuse.Load() {
		return runs.Run{}, errors.New("disk full")
	}
	return s.Store.Claim(id, n)
}

func TestRunThatTheStoreRefusesToStartIsTriedAgain(t *testing.T) {
	serve(t, 0, defaults(), func(t *testing.T, f *fixture) {
		store := &refusingStore{Store: f.store}
		store.refuse.Store(true)
		d := dispatch.New(dispatch.Options{
			Store: store, Pool: f, Log: slog.New(slog.DiscardHandler),
			LogPath:  func(string) string { return "" },
			Settings: defaults(),
		})
		served := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { served <- d.Serve(ctx) }()
		d.WorkerReady(0, 1)
		if err := d.SetProjects(t.Context(), []project.Project{agent("a")}); err != nil {
			t.Fatal(err)
		}
		f.want()
		f.wantStates("a", "queued")
		store.refuse.Store(false)
		time.Sleep(time.Minute)
		f.want("0 run a")
		f.wantStates("a", "running")
		_ = d.SetProjects(t.Context(), nil)
		d.WorkerGone(0, 1)
		synctest.Wait()
		cancel()
		<-served
	})
}

func TestEnvironmentTellsTheCommandWhoItIs(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a", func(p *project.Project) {
			p.Config.Name = "Shop"
			p.Config.Env = map[string]string{"COLOR": "red", "POPPOBUILDER_RUN_ID": "mine"}
			p.Config.GitHub = project.GitHub{Owner: "acme", Repo: "shop"}
		}))
		f.want("0 run a")
		spec := f.specs[0]
		for key, want := range map[string]string{
			"COLOR":                   "red",
			"POPPOBUILDER_DAEMON":     "true",
			"POPPOBUILDER_PROJECT_ID": "a",
			"POPPOBUILDER_RUN_ID":     spec.ID,
			"POPPOBUILDER_ATTEMPT":    "1",
			"POPPOBUILDER_REASON":     "schedule",
			"POPPOBUILDER_WORKER_ID":  "0",
			"POPPO_PROJECT_PATH":      "/src/a",
			"POPPO_PROJECT_NAME":      "Shop",
			"POPPO_GITHUB_OWNER":      "acme",
			"POPPO_GITHUB_REPO":       "shop",
		} {
			if got := spec.Env[key]; got != want {
				t.Errorf("%s=%q, want %q", key, got, want)
			}
		}
		if spec.Dir != "/src/a" || spec.Log != "/logs/a.log" {
			t.Errorf("dir %q, log %q", spec.Dir, spec.Log)
		}
	})
}
