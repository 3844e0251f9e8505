package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// The model of a tree of supervisors: the rules, without goroutines, timers and
// locks. It looks at everything after each thing that happens.
type model struct {
	now    time.Duration
	due    []simTimer // not sorted
	number int
	trace  simTrace
	sups   map[string]*mSup
	err    string // of the root's Serve, once it has returned
	over   bool   // it has
	serve  int    // which of the two Serves it is
}

// A simTimer is something that happens later; the earlier drawn goes first.
type simTimer struct {
	at     time.Duration
	number int
	do     func()
}

type mSup struct {
	*model
	path     string
	plan     *simSup
	kid      *mKid // that it is; nil: the root
	phase    string
	kids     []*mKid
	kept     []*mKid
	loose    []*mRun
	failures []time.Duration
	cause    outcome // what its end means to the one above
	causeIs  string
	upOnce   bool

	// Of a pool:
	name    string
	spawned int
	handles map[string]*mKid
}

type mKid struct {
	sup          *mSup
	plan         *simKid
	acts         []simAct
	inner        *mSup
	state        supervisor.State
	run          *mRun
	want, halt   bool
	gated        bool
	again, final bool
	trial        string // "", serve, add, restart, restart terminated
	keep         bool
	gone         bool // deleted
	generation   int
	restarts     int
	step, host   int // of the delays
	readyAt      time.Duration
	nextTry      time.Duration
	starts, ends []func(string) // who waits for an answer
}

type mRun struct {
	kid                    *mKid
	generation             int
	told, abandoned, ended bool
	act                    simAct
}

func (m *model) after(d time.Duration, do func()) {
	m.number++
	m.due = append(m.due, simTimer{m.now + d, m.number, do})
}

// upTo lets everything happen that is due by the given time.
func (m *model) upTo(end time.Duration, done func() bool) {
	for len(m.due) > 0 && !done() {
		next := 0
		for i, t := range m.due {
			if t.at < m.due[next].at || t.at == m.due[next].at && t.number < m.due[next].number {
				next = i
			}
		}
		t := m.due[next]
		if t.at > end {
			break
		}
		m.due = slices.Delete(m.due, next, next+1)
		m.now = t.at
		t.do()
		m.settle()
	}
	if !done() {
		m.now = end
	}
}

func (m *model) build(k *simKid, path string, kid *mKid) *mSup {
	s := &mSup{model: m, path: path, plan: k.Sup, kid: kid, phase: "idle", name: k.Spec.Name, handles: map[string]*mKid{}}
	m.sups[path] = s
	for _, plan := range k.Sup.Kids {
		c := &mKid{sup: s, plan: plan, acts: plan.Acts, keep: true, readyAt: -1}
		if plan.Sup != nil {
			c.inner = m.build(plan, c.path(), c)
		}
		s.kids = append(s.kids, c)
	}
	s.kept = slices.Clone(s.kids)
	return s
}

func (k *mKid) path() string { return strings.TrimPrefix(k.sup.path+"/"+k.plan.Spec.Name, "/") }

func (k *mKid) tell(kind supervisor.EventKind, delay time.Duration) {
	k.tellOf(k.generation, kind, delay)
}

func (k *mKid) tellOf(generation int, kind supervisor.EventKind, delay time.Duration) {
	for above := k.sup.kid; above != nil; above = above.sup.kid {
		if above.gone { // nobody hears what is inside
			return
		}
	}
	k.sup.trace.Events[k.path()] = append(k.sup.trace.Events[k.path()], eventLine(k.sup.now, kind, k.state, uint64(generation), delay))
}

func tellAll(waiting *[]func(string), answer string) {
	for _, f := range *waiting {
		f(answer)
	}
	*waiting = nil
}

// settle takes every step that can be taken.
func (m *model) settle() {
	for again := true; again; {
		again = false
		for _, s := range m.sups {
			again = s.settle() || again
		}
	}
}

func (s *mSup) settle() bool {
	if s.phase == "idle" {
		return false
	}
	halting, backing, running := false, false, false
	for _, k := range slices.Backward(s.kids) {
		running = running || k.running()
		backing = backing || k.state == supervisor.StateBackoff
		if k.halt && !halting {
			halting = !s.plan.Pool
			if !k.run.told {
				k.stop()
				return true
			}
		}
	}
	if s.phase == "stopping" {
		if !running {
			s.finish()
			return true
		}
		return false
	}
	if halting || s.plan.Strategy == supervisor.OneForAll && backing {
		return false
	}
	for _, k := range s.kids {
		switch {
		case !k.gated:
			continue
		case k.run != nil && k.run.abandoned && k.plan.Spec.AllowAbandoned:
			k.run = nil
		}
		if k.run != nil && k.plan.Spec.Background {
			continue
		}
		if k.run != nil || k.state == supervisor.StateBackoff {
			return false
		}
		k.start()
		return true
	}
	if !s.upOnce {
		s.upOnce, s.phase = true, "up"
		if s.kid != nil {
			s.kid.ready(s.kid.run)
			return true
		}
	}
	return false
}

func (k *mKid) running() bool { return k.run != nil && !k.run.abandoned }

func (s *mSup) serve() {
	s.phase, s.failures, s.upOnce = "starting", nil, false
	for _, k := range s.kids {
		k.want, k.gated, k.again, k.step, k.host = true, true, false, 0, 0
		if k.trial = "serve"; k.plan.Spec.Background {
			k.trial = ""
		}
		if k.state != supervisor.StateAbandoned {
			k.state = supervisor.StateWaiting
		}
	}
}

func (k *mKid) start() {
	s := k.sup
	r := &mRun{kid: k}
	k.run = r
	if len(k.acts) > 0 && k.inner == nil {
		r.act, k.acts = k.acts[0], k.acts[1:]
	}
	k.generation++
	r.generation = k.generation
	k.state = supervisor.StateStarting
	kind := supervisor.EventStarting
	if k.again {
		kind = supervisor.EventRestarted
		k.restarts++
	}
	k.again, k.final = false, false
	k.tell(kind, 0)
	if k.plan.Spec.Background {
		k.gated = false
		tellAll(&k.starts, "ok")
	}
	if k.inner != nil {
		k.inner.serve()
		return
	}
	switch {
	case r.act.Ready == 0:
		k.ready(r)
	case r.act.Ready > 0:
		s.after(r.act.Ready, func() { k.ready(r) })
	}
	if r.act.Run > 0 {
		s.after(r.act.Run, func() {
			if !r.told || r.act.Deaf {
				k.sup.endRun(r, r.act.End)
			}
		})
	}
}

func (k *mKid) ready(r *mRun) {
	if k.run == r && k.state == supervisor.StateStarting && !r.ended {
		k.readyAt = k.sup.now
		k.gated, k.trial = false, ""
		k.state = supervisor.StateReady
		k.tell(supervisor.EventReady, 0)
		tellAll(&k.starts, "ok")
	}
}

func (k *mKid) stop() {
	r, s := k.run, k.sup
	r.told = true
	k.state = supervisor.StateStopping
	k.tell(supervisor.EventStopping, 0)
	if k.inner != nil {
		k.inner.shutdown(errs, "")
	} else if !r.act.Deaf {
		s.after(r.act.Linger, func() { s.endRun(r, errs) })
	}
	limit := k.plan.Spec.Shutdown
	switch limit {
	case 0:
		limit = 5 * time.Second
	case supervisor.Brutal:
		limit = 100 * time.Millisecond
	}
	if limit == supervisor.Infinite || k.inner != nil {
		return
	}
	s.after(limit, func() {
		if r.ended {
			return
		}
		r.abandoned = true
		k.forgive()
		s.loose = append(s.loose, r)
		k.state = supervisor.StateAbandoned
		k.tell(supervisor.EventAbandoned, 0)
		k.halt = false
		k.released(supervisor.ErrAbandoned.Error())
	})
}

// do is what an administrator does.
func (s *mSup) do(op simOp, answer func(string)) {
	var k *mKid
	for _, o := range s.kids {
		if o.plan.Spec.Name == op.Name {
			k = o
		}
	}
	served := s.phase == "starting" || s.phase == "up"
	switch {
	case op.What == "start":
		s.spawn(op, served, answer)
	case op.What == "stop":
		s.stopChild(op.Name, answer)
	case op.What == "add":
		s.add(k, op, served, answer)
	case k == nil:
		answer(supervisor.ErrNotFound.Error())
	case op.What == "delete":
		switch {
		case k.running():
			answer(supervisor.ErrRunning.Error())
		case k.want && s.phase != "idle":
			answer(supervisor.ErrRestarting.Error())
		default:
			s.remove(k)
			answer("ok")
		}
	case op.What == "terminate":
		k.terminate(answer)
	case !served:
		answer(supervisor.ErrNotServed.Error())
	case k.run != nil && k.run.abandoned && !k.plan.Spec.AllowAbandoned:
		answer(supervisor.ErrAbandoned.Error())
	case k.running():
		answer(supervisor.ErrRunning.Error())
	case k.want && k.state != supervisor.StateBackoff:
		answer(supervisor.ErrRestarting.Error())
	case k.state == supervisor.StateBackoff:
		k.starts = append(k.starts, answer)
		k.goOn()
	default:
		k.want, k.step, k.host, k.trial = true, 0, 0, "restart"
		if k.state != supervisor.StateEnded {
			k.trial = "restart terminated"
		}
		if k.plan.Spec.Background {
			k.trial = ""
		}
		k.starts = append(k.starts, answer)
		k.start()
	}
}

func (s *mSup) add(k *mKid, op simOp, served bool, answer func(string)) {
	haunted := slices.ContainsFunc(s.loose, func(r *mRun) bool { return r.kid.plan.Spec.Name == op.Name })
	switch {
	case k != nil && (k.want || k.run != nil && s.phase != "idle"):
		answer(supervisor.ErrAlreadyStarted.Error())
	case k != nil:
		answer(supervisor.ErrAlreadyPresent.Error())
	case haunted && !op.Kid.Spec.AllowAbandoned:
		answer(supervisor.ErrAbandoned.Error())
	case s.phase == "stopping":
		answer(supervisor.ErrNotServed.Error())
	default:
		k = &mKid{sup: s, plan: op.Kid, acts: op.Kid.Acts, readyAt: -1}
		k.keep = !served || op.Kid.Spec.Restart != supervisor.Temporary
		s.kids = append(s.kids, k)
		if k.keep {
			s.kept = append(s.kept, k)
		}
		k.tell(supervisor.EventAdded, 0)
		if !served {
			answer("ok")
			return
		}
		if k.trial = "add"; op.Kid.Spec.Background {
			k.trial = ""
		}
		k.want = true
		k.starts = append(k.starts, answer)
		k.start()
	}
}

// spawn is Pool.Start.
func (s *mSup) spawn(op simOp, served bool, answer func(string)) {
	if !served {
		answer(supervisor.ErrNotServed.Error())
		return
	}
	s.spawned++
	plan := *op.Kid
	plan.Spec.Name = fmt.Sprintf("%s-%d", s.name, s.spawned)
	k := &mKid{sup: s, plan: &plan, acts: plan.Acts, readyAt: -1, trial: "add", want: true}
	s.kids = append(s.kids, k)
	k.tell(supervisor.EventAdded, 0)
	k.starts = append(k.starts, func(is string) {
		if is != "start error" { // the caller has the child, then
			s.handles[plan.Spec.Name] = k
		}
		answer(is)
	})
	k.start()
}

// stopChild is Pool.Stop. Without a child nothing is called.
func (s *mSup) stopChild(name string, answer func(string)) {
	k := s.handles[name]
	switch {
	case k == nil:
		answer("no child")
	case slices.Contains(s.kids, k):
		k.terminate(answer)
	case k.run != nil:
		answer(supervisor.ErrAbandoned.Error())
	default:
		answer("ok")
	}
}

func (k *mKid) terminate(answer func(string)) {
	k.want, k.gated, k.again, k.trial = false, false, false, ""
	tellAll(&k.starts, supervisor.ErrTerminated.Error())
	switch {
	case k.state == supervisor.StateAbandoned:
		answer(supervisor.ErrAbandoned.Error())
		k.forget()
	case k.run != nil:
		k.ends = append(k.ends, answer)
		if !k.run.told && k.sup.phase != "stopping" {
			k.stop()
		}
	default:
		was := k.state
		k.state = supervisor.StateIdle
		if was == supervisor.StateBackoff {
			k.tell(supervisor.EventStopped, 0)
		}
		answer("ok")
		k.forget()
	}
}

// predictSim plays the plan in the model.
func predictSim(p simPlan) simTrace {
	m := &model{sups: map[string]*mSup{}, trace: simTrace{Events: map[string][]string{}, States: map[string]string{}}}
	root := m.build(p.Root, "", nil)
	for i := range p.Stop {
		begin := m.now
		m.over, m.serve = false, i
		for n, op := range p.Ops[i] {
			m.after(op.At, func() {
				if m.over || m.serve != i {
					return
				}
				m.sups[op.Sup].do(op, func(answer string) {
					m.trace.Answers = append(m.trace.Answers, fmt.Sprintf("%d.%02d %s %s/%s at %v: %s", i, n, op.What, op.Sup, op.Name, m.now, answer))
				})
			})
		}
		m.after(p.Stop[i], func() {
			if !m.over && m.serve == i {
				root.shutdown(errs, "other")
			}
		})
		root.serve()
		m.settle()
		m.upTo(begin+1000*time.Hour, func() bool { return m.over })
		m.trace.Serve[i] = m.err
		m.upTo(m.now+p.Gap, func() bool { return false })
	}
	m.upTo(m.now+time.Hour, func() bool { return false })
	root.states(m.trace.States)
	slices.Sort(m.trace.Answers)
	return m.trace
}

func (s *mSup) states(into map[string]string) {
	for _, k := range s.kids {
		into[k.path()] = fmt.Sprintf("%v %d %d", k.state, k.generation, k.restarts)
		if k.inner != nil {
			k.inner.states(into)
		}
	}
}
