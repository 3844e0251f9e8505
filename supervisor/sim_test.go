package supervisor_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/poppobuilder/poppobuilder/supervisor"
	"pgregory.net/rapid"
)

// A simTrace is what happened: the events of each child, each with its time, and
// the answers to the administrators.
type simTrace struct {
	Events  map[string][]string // by path
	Answers []string
	Serve   [2]string
	States  map[string]string // at the end
}

func eventLine(at time.Duration, kind supervisor.EventKind, st supervisor.State, generation uint64, delay time.Duration) string {
	return fmt.Sprintf("%v %v %v %d %v", at, kind, st, generation, delay)
}

// simClass is what a caller can tell of an error.
func simClass(err error) string {
	if _, ok := err.(*supervisor.StartError); ok {
		return "start error"
	}
	for _, known := range []error{
		supervisor.ErrAlreadyStarted, supervisor.ErrAlreadyPresent, supervisor.ErrNotFound, supervisor.ErrRunning,
		supervisor.ErrRestarting, supervisor.ErrNotServed, supervisor.ErrAbandoned, supervisor.ErrTerminated, errNoChild,
	} {
		if is := strings.HasSuffix(fmt.Sprint(err), known.Error()); is {
			return known.Error()
		}
	}
	switch err := err.(type) {
	case nil:
		return "ok"
	case *supervisor.IntensityError:
		return "intensity"
	default:
		var start *supervisor.StartError
		if errors.As(err, &start) {
			return "start error"
		}
		return "other"
	}
}

// A simRun is a plan that is being performed.
type simRun struct {
	stage    *stage
	sups     map[string]*supervisor.Supervisor // by path
	pools    map[string]*supervisor.Pool
	mu       sync.Mutex                       // guards what follows
	children map[string]*supervisor.PoolChild // by path
	witness  *simWitness
}

// perform plays the plan with real supervisors.
func perform(t *testing.T, p simPlan) (simTrace, *simWitness) {
	tr := simTrace{Events: map[string][]string{}, States: map[string]string{}}
	epoch := time.Now()
	w := &simWitness{epoch: epoch, runs: map[string][]*seenRun{}}
	r := &simRun{
		stage: newStage(t), witness: w,
		sups: map[string]*supervisor.Supervisor{}, pools: map[string]*supervisor.Pool{}, children: map[string]*supervisor.PoolChild{},
	}
	r.stage.errorf = w.fault
	root := r.build(t, p.Root, "")
	events := root.Subscribe(10_000)

	var wg sync.WaitGroup
	for i := range p.Stop {
		w.begins = append(w.begins, time.Since(epoch))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		during := func(at time.Duration, do func()) {
			wg.Go(func() {
				select {
				case <-time.After(at):
					do()
				case <-done: // so that no operation falls between two Serves
				}
			})
		}
		for n, op := range p.Ops[i] {
			during(op.At, func() {
				err := r.do(t.Context(), op)
				r.mu.Lock()
				defer r.mu.Unlock()
				tr.Answers = append(tr.Answers, fmt.Sprintf("%d.%02d %s %s/%s at %v: %s", i, n, op.What, op.Sup, op.Name, time.Since(epoch), simClass(err)))
			})
		}
		for _, at := range p.Look[i] {
			during(at, func() { w.look(root.Status()) })
		}
		stop := time.AfterFunc(p.Stop[i], cancel)
		err := root.Serve(ctx)
		stop.Stop()
		cancel()
		close(done)
		tr.Serve[i] = fmt.Sprintf("%v: %s", time.Since(epoch), simClass(err))
		synctest.Wait()
		wg.Wait()
		time.Sleep(p.Gap)
	}
	time.Sleep(time.Hour) // all that were abandoned have ended
	synctest.Wait()
	if got := root.Abandoned(); got != nil {
		w.fault("abandoned at the end: %v", got)
	}
	w.look(root.Status())
	simStates(root.Status(), "", tr.States)
	events.Close()
	for e := range events.Events() {
		w.events = append(w.events, e)
		key := strings.TrimPrefix(e.Path+"/"+e.Name, "/")
		tr.Events[key] = append(tr.Events[key], eventLine(e.Time.Sub(epoch), e.Kind, e.State, e.Generation, e.Delay))
	}
	if events.Dropped() > 0 {
		w.fault("%d events dropped", events.Dropped())
	}
	slices.Sort(tr.Answers)
	return tr, w
}

func simStates(st supervisor.SupervisorStatus, path string, into map[string]string) {
	for _, c := range st.Children {
		key := strings.TrimPrefix(path+"/"+c.Name, "/")
		into[key] = fmt.Sprintf("%v %d %d", c.State, c.Generation, c.Restarts)
		if c.Inside != nil {
			simStates(*c.Inside, key, into)
		}
	}
}

// errNoChild answers a stop of what was never started.
var errNoChild = errors.New("no child")

func (r *simRun) do(ctx context.Context, op simOp) error {
	r.witness.asked(op)
	sup, pool := r.sups[op.Sup], r.pools[op.Sup]
	switch op.What {
	case "start":
		c, err := pool.Start(ctx, r.spec(op.Kid, op.Sup).Service)
		if c != nil {
			r.mu.Lock()
			r.children[op.Sup+"/"+c.String()] = c
			r.mu.Unlock()
		}
		return err
	case "stop":
		r.mu.Lock()
		c := r.children[op.Sup+"/"+op.Name]
		r.mu.Unlock()
		if c == nil {
			return errNoChild
		}
		return pool.Stop(ctx, c)
	case "add":
		return sup.Add(ctx, r.spec(op.Kid, op.Sup))
	case "terminate":
		return sup.Terminate(ctx, op.Name)
	case "restart":
		return sup.Restart(ctx, op.Name)
	default:
		return sup.Delete(op.Name)
	}
}

func (r *simRun) spec(k *simKid, path string) supervisor.Spec {
	var acts []act
	for _, a := range k.Acts {
		now := act{ready: a.Ready, run: a.Run, linger: a.Linger, deaf: a.Deaf}
		if a.Run > 0 {
			now.end = returns(outcomes[a.End])
			switch a.End {
			case panicking:
				now.end = panics("oh")
			case goexits:
				now.end = func() error { runtime.Goexit(); return nil }
			}
		}
		acts = append(acts, now)
	}
	path = strings.TrimPrefix(path+"/"+k.Spec.Name, "/")
	a := r.stage.actor(path, acts...)
	a.twins = k.Spec.AllowAbandoned
	return k.Spec.with(&seen{actor: a, witness: r.witness})
}

func (sp simSpec) with(svc supervisor.Service) supervisor.Spec {
	return supervisor.Spec{
		Name: sp.Name, Service: svc, Restart: sp.Restart, Backoff: sp.Backoff, Shutdown: sp.Shutdown,
		Significant: sp.Significant, Background: sp.Background, AllowAbandoned: sp.AllowAbandoned,
	}
}

func (r *simRun) build(t *testing.T, k *simKid, path string) *supervisor.Supervisor {
	var specs []supervisor.Spec
	for _, kid := range k.Sup.Kids {
		inner := strings.TrimPrefix(path+"/"+kid.Spec.Name, "/")
		switch {
		case kid.Sup == nil:
			specs = append(specs, r.spec(kid, path))
		case kid.Sup.Pool:
			sp := kid.Spec.with(r.buildPool(t, kid, inner))
			sp.Shutdown = supervisor.Infinite
			specs = append(specs, sp)
		default:
			specs = append(specs, kid.Spec.with(r.build(t, kid, inner)))
		}
	}
	r.sups[path] = newSupervisor(t, supervisor.SupervisorOptions{
		Name: k.Spec.Name, Strategy: k.Sup.Strategy, Intensity: k.Sup.Limit, AutoShutdown: k.Sup.Auto, Children: specs,
	})
	return r.sups[path]
}

func (r *simRun) buildPool(t *testing.T, k *simKid, path string) *supervisor.Pool {
	pool, err := supervisor.NewPool(supervisor.PoolOptions{
		Name: k.Spec.Name, Restart: k.Spec.Restart, Backoff: k.Spec.Backoff, Shutdown: k.Spec.Shutdown, Intensity: k.Sup.Limit,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.pools[path] = pool
	return pool
}

// TestSimulation plays random plans with real supervisors in a bubble and with
// the model, and checks the invariants in siminvariants_test.go, until there were
// at least 100,000 steps, or as many as SUPERVISOR_SIM_STEPS says. A step is an
// event of a child or an operation that was answered. Before it begins, it prints
// how to play the same plans again; when it fails, how to play the one that
// failed.
func TestSimulation(t *testing.T) {
	goal := 100_000
	if testing.Short() {
		goal = 5_000
	}
	if s := os.Getenv("SUPERVISOR_SIM_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		goal = n
	}
	seed := simSeed(t)
	// At once, and not by t.Log: a panic in a child's goroutine ends the process.
	fmt.Printf("    the simulation again: go test ./supervisor -run '^TestSimulation$' -rapid.seed=%d\n", seed)
	steps, plans, ops, looks := 0, 0, 0, 0
	for round := 0; steps < goal && !t.Failed(); round++ {
		if round > 0 {
			seed = scatter(int(seed))
		}
		if err := flag.Set("rapid.seed", fmt.Sprint(seed)); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			p := genSim(rt)
			var got simTrace
			var w *simWitness
			synctest.Test(t, func(t *testing.T) { got, w = perform(t, p) })
			want := predictSim(p)
			if !reflect.DeepEqual(want, got) { // which is faster
				rt.Fatalf("it went otherwise (-want +got):\n%s", cmp.Diff(want, got))
			}
			if faults := w.violations(p); faults != nil {
				rt.Fatalf("%s\nevents:\n%s", strings.Join(faults, "\n"), w)
			}
			plans++
			ops += len(got.Answers)
			looks += len(w.looks)
			steps += len(got.Answers) + len(w.events)
		})
	}
	t.Logf("%d steps (%d of them operations) and %d looks at the status in %d plans", steps, ops, looks, plans)
}

// simSeed is that of -rapid.seed, or a new one. The test that is run next gets
// its flag back.
func simSeed(t *testing.T) uint64 {
	f := flag.Lookup("rapid.seed")
	given := f.Value.String()
	t.Cleanup(func() { _ = flag.Set("rapid.seed", given) })
	if n, err := strconv.ParseUint(given, 0, 64); err == nil && n != 0 {
		return n
	}
	return scatter(int(time.Now().UnixNano()))
}
