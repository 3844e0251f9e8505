package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// An awaited is what somebody who waits for a run gets.
type awaited struct {
	run runs.Run
	err error
}

func (f *fixture) await(ctx context.Context, id string) <-chan awaited {
	return f.awaitUntil(ctx, id, runs.UntilOver)
}

func (f *fixture) awaitUntil(ctx context.Context, id string, until runs.Until) <-chan awaited {
	c := make(chan awaited, 1)
	go func() {
		run, err := f.Await(ctx, id, until)
		c <- awaited{run, err}
	}()
	synctest.Wait()
	return c
}

func TestAwaitReturnsWhenTheRunHasEnded(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		run := f.lastRun(0)
		first, second := f.await(t.Context(), run.ID), f.await(t.Context(), run.ID)
		if len(first) > 0 {
			t.Fatal("it has not ended yet")
		}
		f.finish(0, 1)
		for _, c := range []<-chan awaited{first, second, f.await(t.Context(), run.ID)} {
			if got := <-c; got.err != nil || got.run.ID != run.ID || got.run.State != runs.Failed {
				t.Errorf("Await = %+v, want the failed run, not its retry", got)
			}
		}
		if got := <-f.await(t.Context(), "nope"); !errors.Is(got.err, runs.ErrNotFound) {
			t.Errorf("Await of an unknown run = %v", got.err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiting := f.store.List(runs.Filter{State: runs.Queued})[0]
		gone := f.await(ctx, waiting.ID)
		left := f.await(t.Context(), waiting.ID)
		cancel()
		if got := <-gone; got.err != context.Canceled {
			t.Errorf("Await = %v, want context.Canceled", got.err)
		}
		if _, err := f.Cancel(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := <-left; got.err != nil || got.run.State != runs.Cancelled {
			t.Errorf("Await = %+v, want the cancelled run", got)
		}
	})
}

// A run that is cut short is waited for until the one that goes on with it ends.
func TestAwaitFollowsAnInterruption(t *testing.T) {
	serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		run := f.lastRun(0)
		c := f.await(t.Context(), run.ID)
		f.WorkerGone(0, 1)
		time.Sleep(time.Minute)
		f.finish(1, 0)
		if got := <-c; got.err != nil || got.run.ID == run.ID || got.run.Origin != run.ID || got.run.State != runs.Succeeded {
			t.Errorf("Await = %+v, want the second attempt, succeeded", got)
		}
	})
}

// What there is to wait for comes in this order, and each is told of its own.
func TestAwaitStartAndEnd(t *testing.T) {
	serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		run := f.lastRun(0)
		wait := func(until runs.Until) <-chan awaited { return f.awaitUntil(t.Context(), run.ID, until) }
		started, ended, over := wait(runs.UntilStarted), wait(runs.UntilEnded), wait(runs.UntilOver)
		if len(started)+len(ended)+len(over) > 0 {
			t.Fatal("it has not started yet")
		}
		f.RunStarted(0, 1, ipc.Started{Run: run.ID, PID: 4711, Log: &ipc.LogPosition{File: 2, Offset: 30}})
		synctest.Wait()
		for _, c := range []<-chan awaited{started, wait(runs.UntilStarted)} {
			if len(c) == 0 {
				t.Fatal("nobody was told of the start")
			}
			got := <-c
			if got.err != nil || got.run.State != runs.Running || got.run.PID != 4711 || got.run.Log.From.Offset != 30 {
				t.Errorf("Await = %+v, want the running run with its log", got)
			}
		}
		if len(ended)+len(over) > 0 {
			t.Error("it has not ended yet")
		}
		f.WorkerGone(0, 1)
		if got := <-ended; got.err != nil || got.run.ID != run.ID || got.run.State != runs.Interrupted || got.run.Log.From.Offset != 30 || got.run.Log.To != nil {
			t.Errorf("Await = %+v, want the interrupted run, its log without an end", got)
		}
		if len(over) > 0 {
			t.Error("it is to be taken up")
		}
		time.Sleep(time.Minute)
		again := f.lastRun(1)
		code := 0
		log := ipc.LogRange{From: ipc.LogPosition{File: 2, Offset: 50}, To: ipc.LogPosition{File: 3}}
		f.RunFinished(1, 1, ipc.Finished{Run: again.ID, ExitCode: &code, Log: &log})
		if got := <-over; got.err != nil || got.run.ID != again.ID || got.run.Log.From.Offset != 50 || got.run.Log.To.File != 3 {
			t.Errorf("Await = %+v, want the run that has taken it up, with its log", got)
		}
	})
}

// Who gives up is forgotten, whichever run he had come to wait for.
func TestAwaitThatIsGivenUpLeavesNothing(t *testing.T) {
	serve(t, 2, defaults(), func(t *testing.T, f *fixture) {
		f.set(agent("a"))
		ctx, cancel := context.WithCancel(t.Context())
		c := f.await(ctx, f.lastRun(0).ID)
		f.WorkerGone(0, 1)
		synctest.Wait()
		cancel()
		if got := <-c; got.err != context.Canceled {
			t.Errorf("Await = %+v, want context.Canceled", got)
		}
		synctest.Wait()
		if n, err := f.Waiters(t.Context()); n != 0 || err != nil {
			t.Errorf("%d still wait, %v", n, err)
		}
	})
}

func TestArgumentsFollowTheCommandInAllAttempts(t *testing.T) {
	serve(t, 1, defaults(), func(t *testing.T, f *fixture) {
		a := agent("a")
		f.set(a)
		f.finish(0, 0)
		with := func(args ...string) runs.Run {
			t.Helper()
			run, err := f.RunNow(t.Context(), "a", args...)
			if err != nil {
				t.Fatal(err)
			}
			return run
		}
		first := with("-v", "")
		command := func(args ...string) {
			t.Helper()
			synctest.Wait()
			if got, want := f.specs[len(f.specs)-1].Command, append(slices.Clone(a.Config.Command), args...); !slices.Equal(got, want) {
				t.Fatalf("command is %q, want %q", got, want)
			}
		}
		command("-v", "")
		// While it executes, one more is queued for each wish.
		plain, other := with(), with("-x")
		if with().ID != plain.ID || with("-x").ID != other.ID {
			t.Error("the same wish again did not give the queued run back")
		}
		f.finish(0, 1)
		command()
		f.finish(0, 0)
		command("-x")
		f.finish(0, 0)
		time.Sleep(10 * time.Second)
		command("-v", "") // the retry of the first
		if run := f.lastRun(0); run.Origin != first.ID || run.Attempt != 2 {
			t.Errorf("run is %+v, want the second attempt of %s", run, first.ID)
		}
		f.finish(0, 0)

		again, err := f.Retry(t.Context(), first.ID)
		if err != nil || again.Origin != again.ID || again.Attempt != 1 || !slices.Equal(again.Args, []string{"-v", ""}) {
			t.Errorf("Retry = %+v, %v; want a first attempt with the arguments", again, err)
		}
		if _, err := f.Retry(t.Context(), again.ID); !errors.Is(err, dispatch.ErrNotEnded) {
			t.Errorf("Retry of a run that has not ended = %v", err)
		}
		if _, err := f.Retry(t.Context(), "nope"); !errors.Is(err, runs.ErrNotFound) {
			t.Errorf("Retry of an unknown run = %v", err)
		}
	})
}
