package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"pgregory.net/rapid"
)

// An outcome is how a run of the model's service ends.
type outcome int

const (
	succeeds outcome = iota
	errs
	panicking
	hosts
	final     // ErrDoNotRestart
	terminate // ErrTerminateTree
)

var outcomes = map[outcome]error{
	errs:      errBoom,
	hosts:     hostError{},
	final:     fmt.Errorf("done: %w", supervisor.ErrDoNotRestart),
	terminate: fmt.Errorf("fatal: %w", supervisor.ErrTerminateTree),
}

// A modelRun is one run: times in milliseconds; ready -1: never.
type modelRun struct {
	Ready, For int
	End        outcome
}

// An intervention comes from outside, at a time at which nothing else happens.
type intervention struct {
	At      time.Duration
	Backoff *supervisor.Backoff // nil: RestartNow
}

// A plan is everything that happens to a Restarter. After the last run comes
// one that runs, ready, until it is stopped.
type plan struct {
	Restart   supervisor.Restart
	Backoff   supervisor.Backoff
	Intensity supervisor.Intensity
	Runs      []modelRun
	Outside   []intervention // in order
	Stop      time.Duration
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func genBackoff(t *rapid.T) supervisor.Backoff {
	return supervisor.Backoff{
		InitialDelay: ms(rapid.SampledFrom([]int{-1, 0, 1, 10, 700, 5000}).Draw(t, "initial")),
		MaxDelay:     ms(rapid.SampledFrom([]int{0, 1, 50, 4000, 100000}).Draw(t, "max")),
		Multiplier:   rapid.SampledFrom([]float64{0, 1, 2, 3}).Draw(t, "multiplier"),
		ResetAfter:   ms(rapid.SampledFrom([]int{-1, 0, 1, 100, 5000}).Draw(t, "reset after")),
	}
}

func genPlan(t *rapid.T) plan {
	p := plan{
		Restart: rapid.SampledFrom([]supervisor.Restart{
			supervisor.Permanent, supervisor.Permanent, supervisor.Transient, supervisor.Temporary,
		}).Draw(t, "restart"),
		Backoff: genBackoff(t),
		Intensity: supervisor.Intensity{
			MaxRestarts: rapid.SampledFrom([]int{0, 0, -1, 1, 2, 5}).Draw(t, "max restarts"),
			Within:      ms(rapid.SampledFrom([]int{0, 1, 100, 8000}).Draw(t, "within")),
		},
	}
	for range rapid.IntRange(0, 15).Draw(t, "runs") {
		p.Runs = append(p.Runs, modelRun{
			Ready: rapid.SampledFrom([]int{0, 0, 3, 200, -1}).Draw(t, "ready"),
			For:   rapid.SampledFrom([]int{0, 1, 99, 100, 203, 5000, 60000}).Draw(t, "for"),
			End: rapid.SampledFrom([]outcome{
				errs, errs, errs, panicking, panicking, succeeds, succeeds, hosts, final, terminate,
			}).Draw(t, "end"),
		})
	}
	// Runs and delays take whole milliseconds, so that a time with microseconds
	// of its own is nobody else's.
	at := time.Duration(0)
	for i := range rapid.IntRange(0, 4).Draw(t, "interventions") {
		at += ms(rapid.IntRange(1, 30000).Draw(t, "later"))
		in := intervention{At: at + time.Duration(i+1)*time.Microsecond}
		if rapid.Bool().Draw(t, "set backoff") {
			b := genBackoff(t)
			in.Backoff = &b
		}
		p.Outside = append(p.Outside, in)
	}
	p.Stop = ms(rapid.IntRange(0, 200000).Draw(t, "stop")) + 500*time.Microsecond
	return p
}

// A history is what a Restarter has done by the time it is no more served.
type history struct {
	Starts      []time.Duration
	State       supervisor.State
	Restarts    int
	Consecutive int
	Last        error // the last run that ended unasked
	Err         error // of Serve
}

// predict is the model: the rules, without goroutines, timers and locks.
func predict(p plan) history {
	h := history{State: supervisor.StateIdle, Err: context.Canceled}
	b := normalized(p.Backoff)
	within := p.Intensity.Within
	if within == 0 {
		within = time.Minute
	}
	outside := p.Outside
	var ownStep, hostStep int
	var failures []time.Duration
	// meanwhile applies what comes from outside before the given time, while
	// no delay is pending.
	meanwhile := func(until time.Duration) {
		for len(outside) > 0 && outside[0].At < until {
			if n := outside[0].Backoff; n != nil && normalized(*n) != b {
				b, ownStep, hostStep = normalized(*n), 0, 0
			}
			outside = outside[1:]
		}
	}
	now := time.Duration(0)
	for i := 0; ; i++ {
		h.Starts = append(h.Starts, now)
		if i > 0 {
			h.Restarts++
		}
		run := modelRun{For: math.MaxInt32}
		if i < len(p.Runs) {
			run = p.Runs[i]
		}
		exit := min(now+ms(run.For), p.Stop)
		meanwhile(exit)
		if run.Ready >= 0 && run.Ready <= run.For && b.ResetAfter > 0 && exit-now-ms(run.Ready) >= b.ResetAfter {
			h.Consecutive, ownStep, hostStep = 0, 0, 0
		}
		if exit == p.Stop {
			return h
		}
		now = exit

		h.Last = outcomes[run.End]
		switch {
		case run.End == final, run.End == terminate:
			h.State, h.Err = supervisor.StateEnded, h.Last
			return h
		case p.Restart == supervisor.Temporary,
			p.Restart == supervisor.Transient && run.End == succeeds:
			h.State, h.Err = supervisor.StateEnded, supervisor.ErrDoNotRestart
			return h
		}
		step := &hostStep
		if run.End != hosts {
			step, hostStep = &ownStep, 0
			h.Consecutive++
			failures = append(failures, now)
			recent := 0
			for _, f := range failures {
				if now-f <= within {
					recent++
				}
			}
			if p.Intensity.MaxRestarts != 0 && recent > max(p.Intensity.MaxRestarts, 0) {
				h.State, h.Err = supervisor.StateGaveUp, supervisor.ErrDoNotRestart
				return h
			}
		}
		began, next := now, now+delayAt(b, *step)
		*step++
		for len(outside) > 0 && outside[0].At < min(next, p.Stop) {
			in := outside[0]
			meanwhile(in.At + 1)
			if in.Backoff == nil {
				next = in.At
			} else {
				next = min(next, max(in.At, began+longest(b)))
			}
		}
		if next >= p.Stop {
			return h
		}
		now = next
	}
}

func normalized(b supervisor.Backoff) supervisor.Backoff {
	if b.InitialDelay == 0 {
		b.InitialDelay = time.Second
	}
	if b.MaxDelay == 0 {
		b.MaxDelay = 30 * time.Second
	}
	if b.Multiplier == 0 {
		b.Multiplier = 2
	}
	if b.ResetAfter == 0 {
		b.ResetAfter = time.Minute
	}
	return b
}

func longest(b supervisor.Backoff) time.Duration {
	if b.InitialDelay < 0 {
		return 0
	}
	return b.MaxDelay
}

func delayAt(b supervisor.Backoff, step int) time.Duration {
	// As floats: the product exceeds a Duration from about the 34th step on.
	return time.Duration(min(float64(longest(b)), float64(max(b.InitialDelay, 0))*math.Pow(b.Multiplier, float64(step))))
}

// observe does what the plan says to a real Restarter, and checks that its
// events and its status tell the same.
func observe(t *testing.T, p plan) history {
	var steps []step
	for _, r := range p.Runs {
		end := returns(outcomes[r.End])
		if r.End == panicking {
			end = panics("oh")
		}
		s := step{ready: ms(r.Ready), run: ms(r.For), end: end}
		if r.Ready > r.For {
			s.ready = -1
		}
		steps = append(steps, s)
	}
	s := newScript(t, steps...)
	r := supervisor.NewRestarter(s, supervisor.Options{Restart: p.Restart, Backoff: p.Backoff, Intensity: p.Intensity})
	events := r.Subscribe(1000)
	run := serve(t, r)
	for _, in := range p.Outside {
		if in.At > p.Stop {
			break
		}
		sleep(in.At - time.Since(s.epoch))
		if in.Backoff == nil {
			r.RestartNow()
		} else {
			r.SetBackoff(*in.Backoff)
		}
		synctest.Wait()
	}
	if rest := p.Stop - time.Since(s.epoch); rest > 0 {
		sleep(rest)
	}
	run.cancel()
	err := run.wait()
	st := r.Status()
	checkEvents(t, events, st)
	return history{s.starts, st.State, st.Restarts, troubleOf(st).Consecutive, troubleOf(st).LastError, err}
}

// follows is which event may come after which.
var follows = map[supervisor.EventKind][]supervisor.EventKind{
	supervisor.EventStarting:   {supervisor.EventReady, supervisor.EventExited, supervisor.EventPanicked, supervisor.EventStopping},
	supervisor.EventRestarted:  {supervisor.EventReady, supervisor.EventExited, supervisor.EventPanicked, supervisor.EventStopping},
	supervisor.EventReady:      {supervisor.EventExited, supervisor.EventPanicked, supervisor.EventStopping},
	supervisor.EventExited:     {supervisor.EventBackingOff, supervisor.EventGaveUp, supervisor.EventEnded, supervisor.EventStopped},
	supervisor.EventPanicked:   {supervisor.EventBackingOff, supervisor.EventGaveUp, supervisor.EventEnded},
	supervisor.EventBackingOff: {supervisor.EventRestarted, supervisor.EventStopped},
	supervisor.EventStopping:   {supervisor.EventExited},
}

func checkEvents(t *testing.T, events *supervisor.Subscription, st supervisor.Status) {
	events.Close()
	var last supervisor.Event
	var starts, restarts int
	for e := range events.Events() {
		if starts == 0 {
			if e.Kind != supervisor.EventStarting {
				t.Errorf("first event is %v", e)
			}
		} else if !slices.Contains(follows[last.Kind], e.Kind) {
			t.Errorf("%v came after %v", e, last)
		}
		switch e.Kind {
		case supervisor.EventRestarted:
			restarts++
			fallthrough
		case supervisor.EventStarting:
			starts++
		}
		if e.Generation != uint64(starts) {
			t.Errorf("%v has generation %d, want %d", e, e.Generation, starts)
		}
		last = e
	}
	if events.Dropped() != 0 || len(follows[last.Kind]) != 0 {
		t.Errorf("%d events dropped, last is %v, which is none to end with", events.Dropped(), last)
	}
	if st.Generation != uint64(starts) || st.Restarts != restarts || st.State != last.State || st.Since != last.Time {
		t.Errorf("status = %+v, and events told of %d starts, %d restarts, and last %v", st, starts, restarts, last)
	}
}

func TestRestarterAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := genPlan(rt)
		var got history
		synctest.Test(t, func(t *testing.T) { got = observe(t, p) })
		if t.Failed() {
			rt.Fatalf("plan: %+v", p)
		}
		want := predict(p)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(history{}, "Last", "Err")); diff != "" {
			rt.Fatalf("history differs (-want +got):\n%s", diff)
		}
		var panicked *supervisor.PanicError
		if !errors.Is(got.Err, want.Err) || (got.Last != want.Last && !errors.As(got.Last, &panicked)) {
			rt.Fatalf("Serve = %v after %v, want %v after %v", got.Err, got.Last, want.Err, want.Last)
		}
	})
}
