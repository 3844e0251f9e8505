package master

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/api"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

func TestPoolScalesWithoutTouchingTheOthers(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	first := f.untilUp(2)
	f.apply(testSettings(4, "good"))
	four := f.untilUp(4)
	f.apply(testSettings(1, "good"))
	one := f.untilUp(1)
	f.apply(testSettings(3, "good"))
	three := f.untilUp(3)
	if four[0] != first[0] || four[1] != first[1] || one[0] != first[0] || three[0] != first[0] {
		t.Errorf("from 2 to 4 to 1 to 3 the processes were %v, %v, %v, %v", first, four, one, three)
	}
	if three[1] == four[1] {
		t.Errorf("worker 1 is still process %d after it was removed", three[1])
	}
}

// A reload can be there before the pool is served: nothing is started twice.
func TestPoolThatIsReloadedBeforeItIsServed(t *testing.T) {
	for _, size := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("from 2 to %d", size), func(t *testing.T) {
			f := assemble(t, testSettings(2, "good"))
			f.apply(testSettings(size, "good"))
			f.serve(f.pool)
			if err := f.await(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			f.untilUp(size)
			if got := children(t); len(got) != size {
				t.Errorf("%d workers have the processes %v", size, got)
			}
		})
	}
}

func TestPoolReplacesAnOutdatedWorkerWhenItIsIdle(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	before := f.untilUp(2)
	run := f.run("a")
	busy, idle := *run.Worker, 1-*run.Worker
	s := testSettings(2, "good")
	s.program.heartbeatTimeout = time.Hour
	f.apply(s)
	f.until("the idle one to be replaced", func() bool {
		now := f.pids()
		return now[idle] != 0 && now[idle] != before[idle]
	})
	if got := f.pids()[busy]; got != before[busy] {
		t.Fatalf("the busy worker was replaced: process %d, was %d", got, before[busy])
	}
	if run, err := f.dispatch.Cancel(t.Context(), "a"); err != nil || run.State != runs.Cancelled {
		t.Fatalf("cancel gave %v, %v", run.State, err)
	}
	f.until("the other one to be replaced", func() bool {
		now := f.pids()
		return now[busy] != 0 && now[busy] != before[busy]
	})
}

// What counts from the next start only replaces nobody.
func TestPoolKeepsWorkersWhenTheirReadyTimeoutChanges(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	before := f.untilUp(2)
	s := testSettings(2, "good")
	s.program.readyTimeout += time.Second
	f.apply(s)
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	for n, slot := range f.slots {
		if slot.outdated || slot.leaving || slot.worker.Snapshot().PID != before[n] {
			t.Errorf("worker %d is to be replaced", n)
		}
	}
}

// A pool that shrinks lets the run of a worker that goes end by itself, for as
// long as a stop would.
func TestPoolThatShrinksLetsRunsEnd(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	f.untilUp(2)
	f.run("a")
	f.run("b", "a") // so that whoever goes is busy
	s := testSettings(1, "good")
	s.shutdownTimeout = time.Hour
	f.apply(s)
	f.pool.mu.Lock()
	leaving, removing := f.slots[1].leaving, f.slots[1].removing
	f.pool.mu.Unlock()
	if !leaving || removing {
		t.Fatalf("worker 1 is leaving: %v, and being removed: %v", leaving, removing)
	}
	f.broadcast(ipc.Reload{})
	for _, id := range []string{"a", "b"} {
		if _, err := f.dispatch.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	f.until("one worker", func() bool { return len(f.members()) == 1 })
	told := func(n int) bool {
		return strings.Contains(f.logged.String(), fmt.Sprintf(`msg="worker reports an error" worker=%d`, n))
	}
	f.until("worker 0 to be told of the reload", func() bool { return told(0) })
	if told(1) { // its answer would have come before the end of its run
		t.Error("a worker on its way out is told of a reload")
	}
}

// The first start may never come to an end; a reload that mends the reason
// makes the pool ready, and so does one that takes the worker away.
func TestFirstStartsFollowAReload(t *testing.T) {
	for name, s := range map[string]poolSettings{
		"another program":             testSettings(2, "good"),
		"another program, and fewer":  testSettings(1, "good"),
		"another program, and more":   testSettings(3, "good"),
		"one that fails, and another": testSettings(1, "broken"),
	} {
		t.Run(name, func(t *testing.T) {
			f := assemble(t, testSettings(2, "mute"))
			f.serve(f.pool)
			f.until("processes", func() bool { return len(f.members()) == 2 && f.members()[1].worker.Snapshot().PID != 0 })
			ready := make(chan error, 1)
			go func() { ready <- f.await(t.Context(), nil) }()
			f.apply(s)
			if s.program.command[1] == "broken" {
				if err := <-ready; err == nil || strings.Contains(err.Error(), "context") {
					t.Fatalf("await of a program that fails: %v", err)
				}
				return
			}
			if err := <-ready; err != nil {
				t.Fatal(err)
			}
			f.untilUp(s.size)
		})
	}
}

func TestFirstStartsThatAllFail(t *testing.T) {
	f := assemble(t, testSettings(2, "broken"))
	f.serve(f.pool)
	if err := f.await(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "exited with code 3") {
		t.Errorf("await: %v, want the exit code", err)
	}
}

func TestFirstStartsAreNotWaitedForByADaemonThatStops(t *testing.T) {
	f := assemble(t, testSettings(1, "mute"))
	f.serve(f.pool)
	stopping := make(chan struct{})
	close(stopping)
	if err := f.await(t.Context(), stopping); err != nil {
		t.Error(err)
	}
}

// What was meant for a worker that is gone does not reach the next one with its
// number.
func TestGenerationsAreNotUsedAgain(t *testing.T) {
	f := start(t, testSettings(1, "good"))
	old := f.members()[0].generation()
	f.apply(testSettings(1, "other"))
	f.until("the replacement", func() bool { return f.members() != nil && f.members()[0].program.command[1] == "other" })
	pid := f.untilUp(1)[0]
	next := f.members()[0].generation()
	if next <= old {
		t.Fatalf("generation %d follows %d", next, old)
	}
	f.Send(0, old, ipc.Run{Run: ipc.RunSpec{ID: "x", Command: []string{"done"}}})
	f.Replace(0, old, "it is told to")
	run := f.run("a")
	if run.PID != pid {
		t.Errorf("the run has process %d, want %d", run.PID, pid)
	}
	f.Replace(0, next, "it is told to")
	f.until("the replacement", func() bool { now := f.pids()[0]; return now != 0 && now != pid })
}

func TestRestartOfAWorker(t *testing.T) {
	t.Run("ready", func(t *testing.T) {
		f := start(t, testSettings(1, "good"))
		pid := f.untilUp(1)[0]
		if err := f.restart(0); err != nil {
			t.Fatal(err)
		}
		f.until("another process", func() bool { now := f.pids()[0]; return now != 0 && now != pid })
	})
	t.Run("in backoff", func(t *testing.T) {
		s := testSettings(1, "good")
		s.backoff = supervisor.Backoff{InitialDelay: time.Hour, MaxDelay: time.Hour}
		f := start(t, s)
		kill(t, f.untilUp(1)[0])
		f.until("backoff", func() bool { return f.members()[0].restarter.Status().State == supervisor.StateBackoff })
		if err := f.restart(0); err != nil {
			t.Fatal(err)
		}
		f.untilUp(1)
	})
	t.Run("gave up", func(t *testing.T) {
		s := testSettings(1, "good")
		s.intensity = supervisor.Intensity{MaxRestarts: 1, Within: time.Hour}
		f := start(t, s)
		pid := f.untilUp(1)[0]
		kill(t, pid)
		f.until("a restart", func() bool { now := f.pids()[0]; return now != 0 && now != pid })
		kill(t, f.pids()[0])
		f.until("the end of patience", func() bool { return f.members()[0].restarter.Status().State == supervisor.StateGaveUp })
		if err := f.restart(0); err != nil {
			t.Fatal(err)
		}
		f.untilUp(1)
	})
	t.Run("unknown", func(t *testing.T) {
		f := start(t, testSettings(1, "good"))
		if err := f.restart(1); err == nil {
			t.Error("no error")
		}
	})
}

func TestLinesThatAreNoMessagesAreLogged(t *testing.T) {
	f := start(t, testSettings(1, "babbling"))
	f.until("the line in the log", func() bool {
		return strings.Contains(f.logged.String(), `msg="worker sent a line that is not a message" worker=0`)
	})
}

// A worker that does not listen ends at once when it is killed, and so does the
// one that takes its place meanwhile.
func TestKillIsNotPolite(t *testing.T) {
	f := assemble(t, testSettings(2, "stubborn"))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.pool.Serve(ctx)
	}()
	if err := f.await(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	old := f.untilUp(2)
	f.kill()
	f.until("others in their place", func() bool {
		now := f.pids()
		return now[0] != 0 && now[1] != 0 && now[0] != old[0] && now[1] != old[1]
	})
	cancel()
	select {
	case <-ended:
		now, d := time.Now(), f.dispatch.Snapshot()
		for _, s := range f.members() {
			if got := s.status(now, d); got.State != api.WorkerStopping || got.PID != 0 {
				t.Errorf("the status of a worker that has stopped is %+v", got)
			}
		}
	case <-time.After(5 * time.Second):
		f.kill()
		<-ended
		t.Error("the pool took longer than 5 s to end")
	}
}

func TestRestartsLeakNothing(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	killAll := func() {
		old := f.untilUp(2)
		for _, pid := range old {
			kill(t, pid)
		}
		f.until("others", func() bool {
			now := f.pids()
			return len(now) == 2 && now[0] != old[0] && now[1] != old[1]
		})
	}
	resize := func() {
		f.apply(testSettings(1, "good"))
		f.untilUp(1)
		f.apply(testSettings(2, "good"))
		f.untilUp(2)
	}
	killAll()
	resize()
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 10 {
		killAll()
		resize()
	}
	f.until("as many goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
}

// Everything at once, for the race detector: changes of size and program,
// restarts, crashes, status, and the end in the middle of it.
func TestPoolInTurmoil(t *testing.T) {
	f := start(t, testSettings(2, "good"))
	end := time.Now().Add(2 * time.Second)
	var threads []func()
	threads = append(threads,
		func() {
			s := testSettings(1+rand.IntN(4), "good")
			s.program.heartbeatTimeout = time.Hour + time.Duration(rand.IntN(2))
			s.shutdownTimeout = 50 * time.Millisecond // the runs never end by themselves
			f.apply(s)
		},
		func() { _ = f.restart(rand.IntN(4)) },
		func() {
			for _, pid := range f.pids() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
		},
		func() {
			now, d := time.Now(), f.dispatch.Snapshot()
			for _, s := range f.members() {
				s.status(now, d)
			}
		},
		func() { f.run("a") },
	)
	done := make(chan struct{})
	for _, step := range threads {
		go func() {
			defer func() { done <- struct{}{} }()
			for time.Now().Before(end) {
				step()
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			}
		}()
	}
	for range threads {
		<-done
	}
	last := testSettings(3, "good")
	last.shutdownTimeout = 50 * time.Millisecond // worker 3 may have a run
	f.apply(last)
	f.untilUp(3)
	if got := children(t); len(got) != 3 {
		t.Errorf("3 workers have the processes %v", got)
	}
	running := f.store.List(runs.Filter{State: runs.Running})
	if len(running) > 1 {
		t.Errorf("one project has the runs %v", running)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("counting descriptors needs /proc")
	}
	return len(entries)
}

// A worker that is on its way out need not read what it is sent any more.
func TestPoolThatShrinksReplacesNobody(t *testing.T) {
	f := start(t, testSettings(2, "closing"))
	f.untilUp(2)
	s := f.members()[1]
	f.apply(testSettings(1, "closing"))
	f.until("the end of its channel", func() bool {
		return s.worker.Snapshot().State == procworker.StateStopping && s.worker.Send(t.Context(), ipc.Reload{}) != nil
	})
	for range 2 { // when the second is taken, the first has been dealt with
		s.send(s.generation(), ipc.Reload{})
	}
	f.until("the messages to be taken", func() bool { return len(s.outbox) == 0 })
	if logged := f.logged.String(); strings.Contains(logged, "worker is replaced") {
		t.Errorf("the log says %s", logged)
	}
	f.kill()
}
