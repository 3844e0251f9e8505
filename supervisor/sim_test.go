package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
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

// A simPlan is everything that happens to a tree of supervisors: how its
// children behave, and what administrators do. It is served twice.
type simPlan struct {
	Root *simKid
	Ops  [2][]simOp // of each Serve; times count from its start
	Stop [2]time.Duration
	Gap  time.Duration // between the two
}

// A simKid is a child, and a supervisor if it has a strategy.
type simKid struct {
	Spec simSpec
	Acts []simAct // of a leaf; then always the zero act
	Sup  *simSup
}

type simSpec struct {
	Name                                    string
	Restart                                 supervisor.Restart
	Backoff                                 supervisor.Backoff
	Shutdown                                time.Duration
	Significant, Background, AllowAbandoned bool
}

type simSup struct {
	Strategy supervisor.Strategy
	Limit    supervisor.Intensity
	Auto     supervisor.AutoShutdown
	Kids     []*simKid
}

// A simAct is one run of a leaf. Ready -1: never. End succeeds with Run 0: it
// runs until it is told to stop.
type simAct struct {
	Ready, Run, Linger time.Duration
	End                outcome
}

type simOp struct {
	At   time.Duration
	What string // add, terminate, restart, delete
	Sup  string // path
	Name string
	Kid  *simKid // to be added
}

// simGen draws plans. To each time that it draws it adds nanoseconds of its own,
// so that no two things happen at one moment unless the rules want it.
type simGen struct {
	*rapid.T
	drawn int
	sups  []string            // paths
	names map[string][]string // by path
}

func (g *simGen) time(label string, most int) time.Duration {
	g.drawn++
	return ms(rapid.IntRange(0, most).Draw(g.T, label)) + time.Duration(1+scatter(g.drawn)%99_999_989)
}

func pick[T any](g *simGen, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(g.T, label)
}

// scatter is splitmix64, which leaves no pattern in sums.
func scatter(n int) uint64 {
	z := uint64(n) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (g *simGen) act() simAct {
	a := simAct{End: pick(g, "end", succeeds, succeeds, errs, errs, errs, panicking, hosts, final, terminate)}
	if a.End >= final && pick(g, "not really", true, true, true, false) {
		a.End = errs
	}
	if a.End != succeeds || pick(g, "ends", true, true, false) {
		a.Run = g.time("run", pick(g, "run at most", 5, 3000, 200_000))
	}
	if pick(g, "slow", false, false, true) {
		a.Ready = g.time("ready", pick(g, "ready at most", 5, 3000))
	}
	if pick(g, "never ready", false, false, false, false, true) && a.Run > 0 {
		a.Ready = -1
	}
	if pick(g, "lingers", false, true) {
		a.Linger = g.time("linger", pick(g, "linger at most", 5, 20_000))
	}
	return a
}

func (g *simGen) spec(name string, auto supervisor.AutoShutdown) simSpec {
	sp := simSpec{
		Name:     name,
		Restart:  pick(g, "restart", supervisor.Permanent, supervisor.Permanent, supervisor.Permanent, supervisor.Transient, supervisor.Temporary),
		Shutdown: pick(g, "shutdown", 0, supervisor.Brutal, 10*time.Second, supervisor.Infinite),
		Backoff: supervisor.Backoff{
			InitialDelay: pick(g, "initial delay", -1, 0, 10*time.Millisecond, 3*time.Second),
			MaxDelay:     pick(g, "max delay", 0, 50*time.Millisecond, 5*time.Second),
			ResetAfter:   pick(g, "reset after", 0, -1, time.Second),
		},
		Background:     pick(g, "background", false, false, true),
		AllowAbandoned: pick(g, "allow abandoned", false, false, true),
	}
	sp.Significant = auto != supervisor.Never && sp.Restart != supervisor.Permanent && pick(g, "significant", true, false)
	return sp
}

func (g *simGen) leaf(name string, auto supervisor.AutoShutdown) *simKid {
	k := &simKid{Spec: g.spec(name, auto)}
	for range rapid.IntRange(0, 40).Draw(g.T, "acts") {
		k.Acts = append(k.Acts, g.act())
	}
	if len(k.Acts) > 0 && pick(g, "starts", true, true, true, true, true, true, false) {
		k.Acts[0].Ready = 0 // or most plans would be over soon
	}
	return k
}

func (g *simGen) sup(path, name string, auto supervisor.AutoShutdown, depth int) *simKid {
	k := &simKid{Spec: g.spec(name, auto)}
	k.Spec.Shutdown = supervisor.Infinite
	k.Sup = &simSup{
		Strategy: pick(g, "strategy", supervisor.OneForOne, supervisor.OneForAll, supervisor.RestForOne),
		Auto:     pick(g, "auto", supervisor.Never, supervisor.Never, supervisor.AnySignificant, supervisor.AllSignificant),
		Limit: supervisor.Intensity{
			MaxRestarts: pick(g, "max restarts", 0, 0, 0, 0, 0, -1, 2, 5),
			Within:      pick(g, "within", 0, time.Second, time.Hour),
		},
	}
	g.sups = append(g.sups, path)
	for i := range rapid.IntRange(1, 5).Draw(g.T, "kids") {
		name := string(rune('a' + i))
		g.names[path] = append(g.names[path], name)
		if depth > 0 && pick(g, "inner", false, false, true) {
			k.Sup.Kids = append(k.Sup.Kids, g.sup(strings.TrimPrefix(path+"/"+name, "/"), name, k.Sup.Auto, depth-1))
		} else {
			k.Sup.Kids = append(k.Sup.Kids, g.leaf(name, k.Sup.Auto))
		}
	}
	return k
}

func (g *simGen) ops(upTo time.Duration) (ops []simOp) {
	for range rapid.IntRange(0, 15).Draw(g.T, "ops") {
		op := simOp{
			At:   g.time("at", int(upTo.Milliseconds())),
			What: pick(g, "what", "add", "terminate", "restart", "delete"),
			Sup:  rapid.SampledFrom(g.sups).Draw(g.T, "sup"),
		}
		names := append([]string{"x"}, g.names[op.Sup]...)
		op.Name = rapid.SampledFrom(names).Draw(g.T, "name")
		if op.What == "add" {
			if pick(g, "new", true, true, false) {
				op.Name = "y" + strconv.Itoa(len(names))
				g.names[op.Sup] = append(g.names[op.Sup], op.Name)
			}
			op.Kid = g.leaf(op.Name, supervisor.Never)
		}
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b simOp) int { return int(a.At - b.At) })
	return ops
}

func genSim(t *rapid.T) simPlan {
	g := &simGen{T: t, names: map[string][]string{}}
	p := simPlan{Root: g.sup("", "root", supervisor.Never, 2)}
	for i := range p.Stop {
		p.Stop[i] = g.time("stop", pick(g, "stop at most", 7_200_000, 7_200_000, 10_000))
		p.Ops[i] = g.ops(p.Stop[i])
	}
	p.Gap = g.time("gap", 10_000)
	return p
}

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
		supervisor.ErrRestarting, supervisor.ErrNotServed, supervisor.ErrAbandoned, supervisor.ErrTerminated,
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

// perform plays the plan with real supervisors.
func perform(t *testing.T, p simPlan) simTrace {
	tr := simTrace{Events: map[string][]string{}, States: map[string]string{}}
	sups := map[string]*supervisor.Supervisor{}
	stage := newStage(t)
	root := buildSim(t, stage, p.Root, "", sups)
	events := root.Subscribe(10_000)
	epoch := time.Now()

	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range p.Stop {
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		for n, op := range p.Ops[i] {
			wg.Go(func() {
				select {
				case <-time.After(op.At):
				case <-done: // so that no operation falls between two Serves
					return
				}
				err := doOp(t.Context(), stage, sups[op.Sup], op)
				mu.Lock()
				defer mu.Unlock()
				tr.Answers = append(tr.Answers, fmt.Sprintf("%d.%02d %s %s/%s at %v: %s", i, n, op.What, op.Sup, op.Name, time.Since(epoch), simClass(err)))
			})
		}
		stop := time.AfterFunc(p.Stop[i]-time.Since(begin), cancel)
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
		t.Errorf("abandoned at the end: %v", got)
	}
	for name, n := range stage.live {
		if n != 0 {
			t.Errorf("%d of %s are left", n, name)
		}
	}
	simStates(root.Status(), "", tr.States)
	events.Close()
	for e := range events.Events() {
		key := strings.TrimPrefix(e.Path+"/"+e.Name, "/")
		tr.Events[key] = append(tr.Events[key], eventLine(e.Time.Sub(epoch), e.Kind, e.State, e.Generation, e.Delay))
	}
	if events.Dropped() > 0 {
		t.Errorf("%d events dropped", events.Dropped())
	}
	slices.Sort(tr.Answers)
	return tr
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

func doOp(ctx context.Context, stage *stage, sup *supervisor.Supervisor, op simOp) error {
	switch op.What {
	case "add":
		return sup.Add(ctx, simSpecOf(stage, op.Kid, op.Sup))
	case "terminate":
		return sup.Terminate(ctx, op.Name)
	case "restart":
		return sup.Restart(ctx, op.Name)
	default:
		return sup.Delete(op.Name)
	}
}

func simSpecOf(stage *stage, k *simKid, path string) supervisor.Spec {
	var acts []act
	for _, a := range k.Acts {
		now := act{ready: a.Ready, run: a.Run, linger: a.Linger}
		if a.Run > 0 {
			now.end = returns(outcomes[a.End])
			if a.End == panicking {
				now.end = panics("oh")
			}
		}
		acts = append(acts, now)
	}
	a := stage.actor(path+"/"+k.Spec.Name, acts...)
	a.twins = k.Spec.AllowAbandoned
	return k.Spec.with(a)
}

func (sp simSpec) with(svc supervisor.Service) supervisor.Spec {
	return supervisor.Spec{
		Name: sp.Name, Service: svc, Restart: sp.Restart, Backoff: sp.Backoff, Shutdown: sp.Shutdown,
		Significant: sp.Significant, Background: sp.Background, AllowAbandoned: sp.AllowAbandoned,
	}
}

func buildSim(t *testing.T, stage *stage, k *simKid, path string, sups map[string]*supervisor.Supervisor) *supervisor.Supervisor {
	var specs []supervisor.Spec
	for _, kid := range k.Sup.Kids {
		if kid.Sup == nil {
			specs = append(specs, simSpecOf(stage, kid, path))
		} else {
			inner := strings.TrimPrefix(path+"/"+kid.Spec.Name, "/")
			specs = append(specs, kid.Spec.with(buildSim(t, stage, kid, inner, sups)))
		}
	}
	sups[path] = newSupervisor(t, supervisor.SupervisorOptions{
		Name: k.Spec.Name, Strategy: k.Sup.Strategy, Intensity: k.Sup.Limit, AutoShutdown: k.Sup.Auto, Children: specs,
	})
	return sups[path]
}

// TestSimulation plays random plans with real supervisors in a bubble and with
// the model, until there were at least 100,000 events and operations, or as many
// as SUPERVISOR_SIM_STEPS says. When it fails, it prints the seed.
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
	steps, plans := 0, 0
	for steps < goal && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) {
			p := genSim(rt)
			var got simTrace
			synctest.Test(t, func(t *testing.T) { got = perform(t, p) })
			if t.Failed() {
				rt.Fatalf("plan: %+v", p)
			}
			want := predictSim(p)
			if !reflect.DeepEqual(want, got) { // which is faster
				rt.Fatalf("it went otherwise (-want +got):\n%s", cmp.Diff(want, got))
			}
			plans++
			steps += len(got.Answers)
			for _, lines := range got.Events {
				steps += len(lines)
			}
		})
	}
	t.Logf("%d steps in %d plans", steps, plans)
}
