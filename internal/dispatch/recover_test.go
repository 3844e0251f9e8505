package dispatch_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// A durableFixture is a dispatcher on a file, which can be killed, and whose
// disk can fill up.
type durableFixture struct {
	fixture
	db   *runs.DB
	path string
	full atomic.Bool
	stop func()
}

func durable(t *testing.T, test func(*testing.T, *durableFixture)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runs.db")
	synctest.Test(t, func(t *testing.T) {
		f := &durableFixture{fixture: fixture{t: t}, path: path}
		f.start()
		test(t, f)
		f.set()
		f.stop()
		_ = f.db.Close()
	})
}

// start opens the file and serves a dispatcher with two idle workers.
func (f *durableFixture) start() {
	f.t.Helper()
	var err error
	f.db, err = runs.Open(f.path, runs.Options{NoSync: true, Fault: func(point string) error {
		if point == "write" && f.full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Dispatcher = dispatch.New(dispatch.Options{
		Store: f.db, Pool: f, Log: slog.New(slog.DiscardHandler),
		LogPath:  func(string) string { return "" },
		Settings: defaults(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	d := f.Dispatcher
	go func() { _ = d.Serve(ctx); close(served) }()
	f.stop = func() { cancel(); <-served; d.Close() }
	d.WorkerReady(0, 1)
	d.WorkerReady(1, 1)
}

// crash ends the dispatcher as a KILL does: nothing more is written.
func (f *durableFixture) crash() {
	f.t.Helper()
	synctest.Wait()
	f.stop()
	if err := f.db.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.take()
	f.start()
}

func (f *durableFixture) wantRuns(id string, want ...string) []runs.Run {
	f.t.Helper()
	synctest.Wait()
	list := f.db.List(runs.Filter{Project: id})
	got := make([]string, len(list))
	for i, run := range list {
		got[len(list)-1-i] = string(run.State) + " " + string(run.Reason)
	}
	if !equal(got, want) {
		f.t.Fatalf("runs of %s: %q, want %q", id, got, want)
	}
	return list
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRunThatWasCutShortIsTheNextAttemptAfterACrash(t *testing.T) {
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(agent("a"))
		f.want("0 run a")
		f.crash()
		f.set(agent("a"))
		f.want("0 run a")
		list := f.wantRuns("a", "interrupted schedule", "running interrupted")
		if list[0].Attempt != 2 || list[0].Origin != list[1].ID || list[1].Error == "" {
			t.Errorf("runs are %+v", list)
		}
		f.crash()
		f.set(agent("a"))
		f.want() // twice: perhaps the run was the cause
		time.Sleep(5 * time.Second)
		f.want("0 run a")
	})
}

func TestRunThatWasCutShortFailsIfItsProjectSaysSo(t *testing.T) {
	fails := agent("a", func(p *project.Project) { p.Config.OnInterrupt = project.InterruptFail })
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(fails)
		f.want("0 run a")
		f.crash()
		f.set(fails)
		f.want()
		f.wantRuns("a", "interrupted schedule")
		time.Sleep(time.Minute)
		f.want("0 run a")
		f.WorkerGone(0, 1) // the death of a worker is no different
		f.want()
		f.wantRuns("a", "interrupted schedule", "interrupted schedule")
	})
}

func TestQueueIsFoundAsItWas(t *testing.T) {
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(agent("a"), agent("b"), agent("c"))
		f.want("0 run a", "1 run b")
		if _, err := f.RunNow(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f.crash()
		f.set(agent("b"), agent("c", func(p *project.Project) { p.Enabled = false }))
		f.want("0 run b")
		f.wantRuns("a", "interrupted schedule", "cancelled manual")
		f.wantRuns("b", "interrupted schedule", "running interrupted")
		f.wantRuns("c", "cancelled schedule")
	})
}

// A daemon that starts anew runs the projects that are due, not all.
func TestNextTimesSurviveARestart(t *testing.T) {
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(agent("a"), agent("b", every(time.Hour)))
		f.want("0 run a", "1 run b")
		code := 0
		for n, id := range []string{"a", "b"} {
			f.RunFinished(n, 1, ipc.Finished{Run: f.db.List(runs.Filter{Project: id})[0].ID, ExitCode: &code})
		}
		synctest.Wait()
		time.Sleep(30 * time.Second)
		f.crash()
		f.set(agent("a"), agent("b", every(time.Hour)), agent("new"))
		f.want("0 run new")
		time.Sleep(30*time.Second - time.Nanosecond)
		f.want()
		time.Sleep(time.Nanosecond)
		f.want("1 run a")
		if last := f.Snapshot().Projects["b"].Last; last == nil || last.State != runs.Succeeded {
			t.Errorf("the last run of b is %+v", last)
		}
		f.WorkerReady(2, 1)
		time.Sleep(time.Hour - time.Minute)
		f.want("2 run b")
	})
}

// While the disk is full nothing new is accepted or started; what ends is
// remembered, and all goes on when there is room.
func TestFullDiskStallsNewRunsOnly(t *testing.T) {
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(agent("a"), agent("b", every(time.Hour)))
		f.want("0 run a", "1 run b")
		f.full.Store(true)
		for range 2 { // by the commit, and then by the store itself
			_, err := f.RunNow(t.Context(), "b")
			if e, ok := errors.AsType[*runs.WriteError](err); !ok || !e.Full() {
				t.Fatalf("on a full disk: %v", err)
			}
		}
		f.wantRuns("b", "running schedule")
		code := 1
		running := f.db.List(runs.Filter{Project: "a"})[0]
		f.RunFinished(0, 1, ipc.Finished{Run: running.ID, ExitCode: &code})
		f.wantRuns("a", "failed schedule", "queued retry")
		time.Sleep(10 * time.Minute)
		f.want()
		cancelled := make(chan error)
		go func() {
			_, err := f.Cancel(t.Context(), "a")
			cancelled <- err
		}()
		synctest.Wait()
		select {
		case err := <-cancelled:
			t.Fatalf("a cancellation that is not on disk was acknowledged: %v", err)
		default:
		}
		if err := f.Alive(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.full.Store(false)
		time.Sleep(2 * time.Second)
		if err := <-cancelled; err != nil {
			t.Fatal(err)
		}
		f.wantRuns("a", "failed schedule", "cancelled retry")
		if _, err := f.RunNow(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f.want("0 run a")
		f.crash()
		f.wantRuns("a", "failed schedule", "cancelled retry", "running manual")
	})
}

func TestClaimThatCannotBeWrittenIsTakenBack(t *testing.T) {
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(agent("a", every(0)), agent("b", every(0)))
		f.want("0 run a", "1 run b")
		code := 0
		ids := []string{f.db.List(runs.Filter{Project: "a"})[0].ID, f.db.List(runs.Filter{Project: "b"})[0].ID}
		f.full.Store(true)
		for n, id := range ids {
			f.RunFinished(n, 1, ipc.Finished{Run: id, ExitCode: &code})
		}
		f.want()
		if s := f.Snapshot(); s.Running != 0 || s.Queued != 0 {
			t.Errorf("%d run, %d wait", s.Running, s.Queued)
		}
		f.full.Store(false)
		time.Sleep(6 * time.Second)
		if got := f.take(); len(got) != 2 {
			t.Errorf("pool was told %q, want both again", got)
		}
		f.wantRuns("a", "succeeded schedule", "running schedule")
	})
}

// fail reports that the run of worker 0 failed.
func (f *durableFixture) fail() {
	code := 1
	f.RunFinished(0, 1, ipc.Finished{Run: f.db.List(runs.Filter{State: runs.Running})[0].ID, ExitCode: &code})
}

func (f *durableFixture) ask(id string) {
	f.t.Helper()
	if _, err := f.RunNow(f.t.Context(), id); err != nil {
		f.t.Fatal(err)
	}
}

// A restart changes nothing of what may start outside of the active hours.
func TestRunByHandIsOneAfterARestart(t *testing.T) {
	office := agent("a", hours("08:00", "20:00"))
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(office)
		f.want() // it is midnight
		f.ask("a")
		f.want("0 run a")
		f.crash()
		f.set(office)
		f.want("0 run a") // it was cut short
		f.fail()
		f.want()
		f.crash()
		f.set(office)
		time.Sleep(5 * time.Second)
		f.want("0 run a") // it failed
	})
}

func TestRunThatIsExpeditedIsOneByHand(t *testing.T) {
	office := agent("a", hours("08:00", "20:00"))
	durable(t, func(t *testing.T, f *durableFixture) {
		f.set(office)
		time.Sleep(20*time.Hour - time.Second)
		f.want("0 run a")
		f.fail()
		time.Sleep(time.Minute)
		f.want() // the retry of a run that was due waits for the morning

		f.full.Store(true)
		if _, err := f.RunNow(t.Context(), "a"); err == nil {
			t.Fatal("a run was accepted on a full disk")
		}
		f.full.Store(false)
		time.Sleep(10 * time.Second)
		f.want() // what was refused has changed nothing

		f.ask("a")
		f.want("1 run a")
		f.crash()
		f.set(office)
		time.Sleep(5 * time.Second) // it is the second attempt that is cut short
		f.want("0 run a")
	})
}
