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
)

// An awaited is what somebody who waits for a run gets.
type awaited struct {
	run runs.Run
	err error
}

func (f *fixture) await(ctx context.Context, id string) <-chan awaited {
	c := make(chan awaited, 1)
	go func() {
		run, err := f.Await(ctx, id)
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
