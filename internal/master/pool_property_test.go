package master

import (
	"context"
	"flag"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Stop, restart, crash, backoff and scale at the same moment never give two
// processes for one worker, nor none. Its children are scripted: they are good,
// ignore TERM, are never ready, or end at once.
func TestPoolNeverHasTwoNorNone(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("20") // real processes take their time; -rapid.checks for more
	}
	f := start(t, testSettings(2, "good"))
	kinds := []string{"good", "stubborn", "mute", "broken"}
	step := rapid.Custom(func(rt *rapid.T) func() {
		switch rapid.IntRange(0, 2).Draw(rt, "step") {
		case 0: // scale, and another program
			s := testSettings(rapid.IntRange(1, 4).Draw(rt, "size"), rapid.SampledFrom(kinds).Draw(rt, "kind"))
			s.shutdownTimeout = 20 * time.Millisecond
			s.program.readyTimeout = 50 * time.Millisecond
			s.backoff.InitialDelay = time.Duration(rapid.IntRange(1, 30).Draw(rt, "delay")) * time.Millisecond
			return func() { f.apply(s) }
		case 1:
			n := rapid.IntRange(0, 3).Draw(rt, "restart")
			return func() { _ = f.restart(n) }
		default: // a crash
			n := rapid.IntRange(0, 3).Draw(rt, "crash")
			return func() {
				if pid := f.pids()[n]; pid != 0 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		var at sync.WaitGroup
		for _, thread := range rapid.SliceOfN(rapid.SliceOfN(step, 1, 4), 2, 4).Draw(rt, "threads") {
			at.Go(func() {
				for _, do := range thread {
					do()
				}
			})
		}
		at.Wait()
		size := rapid.IntRange(1, 3).Draw(rt, "final size")
		f.apply(testSettings(size, "good"))
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for got := children(t); ctx.Err() == nil; got = children(t) {
			if up := f.pids(); len(up) == size && len(got) == size {
				return
			}
			time.Sleep(time.Millisecond)
		}
		rt.Fatalf("%d workers have the processes %v, %v", size, f.pids(), children(t))
	})
}
