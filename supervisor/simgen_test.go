package supervisor_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
	"pgregory.net/rapid"
)

// A simPlan is everything that happens to a tree of supervisors: how its
// children behave, and what administrators do. It is served twice.
type simPlan struct {
	Root *simKid
	Ops  [2][]simOp         // of each Serve; times count from its start
	Look [2][]time.Duration // when the status is read
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
	Pool     bool // it has no kids at first
	Strategy supervisor.Strategy
	Limit    supervisor.Intensity
	Auto     supervisor.AutoShutdown
	Kids     []*simKid
}

// A simAct is one run of a leaf. Ready -1: never. End succeeds with Run 0: it
// runs until it is told to stop. Deaf: it does not listen when it is told so.
type simAct struct {
	Ready, Run, Linger time.Duration
	End                outcome
	Deaf               bool
}

// goexits is an outcome that only the simulation has.
const goexits outcome = 100

type simOp struct {
	At   time.Duration
	What string // add, terminate, restart, delete; start or stop, in a pool
	Sup  string // path
	Name string
	Kid  *simKid // to be added or started
}

// simGen draws plans. To each time that it draws it adds nanoseconds of its own,
// so that no two things happen at one moment unless the rules want it.
type simGen struct {
	*rapid.T
	drawn int
	sups  []string            // paths, of pools too
	pools map[string]*simKid  // by path
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
	a := simAct{End: pick(g, "end", succeeds, succeeds, errs, errs, errs, panicking, goexits, hosts, final, terminate)}
	if (a.End == final || a.End == terminate) && pick(g, "not really", true, true, true, false) {
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
	a.Deaf = a.Run > 0 && pick(g, "deaf", false, false, false, true)
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
		Limit:    g.limit(),
	}
	g.sups = append(g.sups, path)
	for i := range rapid.IntRange(1, 5).Draw(g.T, "kids") {
		name := string(rune('a' + i))
		g.names[path] = append(g.names[path], name)
		inner := strings.TrimPrefix(path+"/"+name, "/")
		what := pick(g, "kid", "leaf", "leaf", "leaf", "leaf", "sup", "sup", "pool")
		switch {
		case depth > 0 && what == "sup":
			k.Sup.Kids = append(k.Sup.Kids, g.sup(inner, name, k.Sup.Auto, depth-1))
		case what == "pool":
			k.Sup.Kids = append(k.Sup.Kids, g.pool(inner, name, k.Sup.Auto))
		default:
			k.Sup.Kids = append(k.Sup.Kids, g.leaf(name, k.Sup.Auto))
		}
	}
	return k
}

func (g *simGen) limit() supervisor.Intensity {
	return supervisor.Intensity{
		MaxRestarts: pick(g, "max restarts", 0, 0, 0, 0, 0, -1, 2, 5),
		Within:      pick(g, "within", 0, time.Second, time.Hour),
	}
}

func (g *simGen) pool(path, name string, auto supervisor.AutoShutdown) *simKid {
	k := &simKid{Spec: g.spec(name, auto), Sup: &simSup{Pool: true, Limit: g.limit()}}
	g.sups = append(g.sups, path)
	g.pools[path] = k
	return k
}

// poolOp is of a pool. What it has to stop may not have been started.
func (g *simGen) poolOp(op *simOp) {
	k := g.pools[op.Sup]
	op.What = pick(g, "what", "start", "start", "stop")
	op.Name = fmt.Sprintf("%s-%d", k.Spec.Name, rapid.IntRange(1, 4).Draw(g.T, "number"))
	if op.What == "start" {
		op.Name = "*"
		op.Kid = g.leaf(op.Name, supervisor.Never)
		acts := op.Kid.Acts
		op.Kid = &simKid{Spec: k.Spec, Acts: acts}
		op.Kid.Spec.Name, op.Kid.Spec.Significant, op.Kid.Spec.Background, op.Kid.Spec.AllowAbandoned = op.Name, false, false, true
	}
}

func (g *simGen) ops(upTo time.Duration) (ops []simOp) {
	for range rapid.IntRange(0, 15).Draw(g.T, "ops") {
		op := simOp{
			At:   g.time("at", int(upTo.Milliseconds())),
			What: pick(g, "what", "add", "terminate", "restart", "delete"),
			Sup:  rapid.SampledFrom(g.sups).Draw(g.T, "sup"),
		}
		if g.pools[op.Sup] != nil {
			g.poolOp(&op)
			ops = append(ops, op)
			continue
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
	g := &simGen{T: t, names: map[string][]string{}, pools: map[string]*simKid{}}
	p := simPlan{Root: g.sup("", "root", supervisor.Never, 2)}
	for i := range p.Stop {
		p.Stop[i] = g.time("stop", pick(g, "stop at most", 7_200_000, 7_200_000, 10_000))
		p.Ops[i] = g.ops(p.Stop[i])
		for range rapid.IntRange(0, 5).Draw(g.T, "looks") {
			p.Look[i] = append(p.Look[i], g.time("look", int(p.Stop[i].Milliseconds())))
		}
	}
	p.Gap = g.time("gap", 10_000)
	return p
}
