package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// Invariants of every plan, checked without the model, from what the witness has
// seen alone:
//
//   - no child runs twice at once, unless AllowAbandoned is set;
//   - children start in order, each after those before it were ready, and no
//     start of a group comes before all its stops;
//   - they stop in the reverse order;
//   - no more restarts in any period than Intensity allows, giving up only past
//     that, and no start after it;
//   - each delay is the one that Backoff gives for that failure in a row, and the
//     next start comes exactly then, or later if it has to wait for siblings;
//   - what did not stop in its time is abandoned exactly then;
//   - each event fits the one before it, and what the child itself saw;
//   - the status shows at any time what the events have told;
//   - nothing is left at the end of a Serve that was not abandoned, and nothing
//     at all at the end.
//
// Children that an administrator has touched during the Serve are exempt from the
// order, as they take no part in it.

// A simCheck goes through the events.
type simCheck struct {
	*simWitness
	sups map[string]*checkedSup // by path
}

type checkedSup struct {
	path     string
	plan     *simSup
	order    []*checkedKid
	loose    map[string]int // abandoned runs by name
	failures []time.Duration
	gaveUp   bool
}

type checkedKid struct {
	sup        *checkedSup
	spec       simSpec
	inner      *checkedSup
	state      supervisor.State
	since      time.Duration
	live       bool // it has a run that is not abandoned
	generation uint64
	restarts   int
	readyAt    time.Duration // -1: it is not
	own, host  int           // failures in a row
	nextTry    time.Duration
	cut        bool // its delay was cut by Restart
	cutAt      time.Duration
	started    bool // in this Serve
	settled    bool // ready, or over, in this Serve
	touched    bool // by an administrator, in this Serve
	added      bool
}

func (w *simWitness) violations(p simPlan) []string {
	c := &simCheck{simWitness: w, sups: map[string]*checkedSup{}}
	root := c.build(p.Root, "")
	begins, asks, looks := w.begins, w.asks, w.looks
	upTo := func(t time.Duration) {
		for {
			switch {
			case len(looks) > 0 && looks[0].at < t && (len(asks) == 0 || looks[0].at < asks[0].at) && (len(begins) == 0 || looks[0].at < begins[0]):
				c.status(root, looks[0].status, looks[0].at)
				looks = looks[1:]
			case len(begins) > 0 && begins[0] <= t && (len(asks) == 0 || begins[0] <= asks[0].at):
				c.begin(root)
				begins = begins[1:]
			case len(asks) > 0 && asks[0].at <= t:
				c.ask(asks[0])
				asks = asks[1:]
			default:
				return
			}
		}
	}
	for i, e := range w.events {
		at := e.Time.Sub(w.epoch)
		upTo(at)
		c.event(e, at, c.loose(i))
	}
	upTo(1 << 62)
	c.nothingLeft(root)
	c.children()
	return w.faults
}

func (c *simCheck) build(k *simKid, path string) *checkedSup {
	s := &checkedSup{path: path, plan: k.Sup, loose: map[string]int{}}
	c.sups[path] = s
	for _, kid := range k.Sup.Kids {
		ck := s.kid(kid.Spec)
		if kid.Sup != nil {
			ck.inner = c.build(kid, strings.TrimPrefix(path+"/"+kid.Spec.Name, "/"))
		}
	}
	return s
}

func (s *checkedSup) kid(sp simSpec) *checkedKid {
	k := &checkedKid{sup: s, spec: sp, readyAt: -1}
	s.order = append(s.order, k)
	return k
}

func (s *checkedSup) find(name string) *checkedKid {
	if i := slices.IndexFunc(s.order, func(k *checkedKid) bool { return k.spec.Name == name }); i >= 0 {
		return s.order[i]
	}
	return nil
}

func (s *checkedSup) drop(name string) {
	s.order = slices.DeleteFunc(s.order, func(k *checkedKid) bool { return k.spec.Name == name })
}

// begin opens a Serve of s.
func (c *simCheck) begin(s *checkedSup) {
	c.nothingLeft(s)
	s.failures, s.gaveUp = nil, false
	if s.plan.Pool {
		s.order = nil
	}
	for _, k := range s.order {
		k.started, k.settled, k.touched, k.own, k.host, k.cut = false, false, false, 0, 0, false
		if k.state != supervisor.StateAbandoned {
			k.readyAt = -1
		}
		if k.state != supervisor.StateAbandoned {
			k.state = supervisor.StateWaiting
		}
	}
}

// nothingLeft checks that no run of s goes on that was not abandoned.
func (c *simCheck) nothingLeft(s *checkedSup) {
	for _, k := range s.order {
		if k.live {
			c.fault("%s/%s is left running", s.path, k.spec.Name)
		}
	}
}

// ask notes what an administrator asks for.
func (c *simCheck) ask(a seenAsk) {
	s := c.sups[a.op.Sup]
	k := s.find(a.op.Name)
	if k == nil {
		return
	}
	k.touched = true
	if k.state != supervisor.StateBackoff {
		return
	}
	switch over := k.cut || a.at >= k.nextTry; {
	case a.op.What == "restart" && !k.cut:
		k.cut, k.cutAt = true, a.at
	case a.op.What == "terminate" && over: // it only waited for its turn, which has no event
		k.state, k.cut = supervisor.StateIdle, false
	}
}

// byHand reports whether an administrator asked for this at this very moment.
func (c *simCheck) byHand(k *checkedKid, at time.Duration) (simOp, bool) {
	for _, a := range c.asks {
		if a.at == at && a.op.Sup == k.sup.path && (a.op.Name == k.spec.Name || a.op.What == "start") {
			return a.op, true
		}
	}
	return simOp{}, false
}

// loose reports whether event number i is the end of an abandoned run. The end of
// any other run is told together with what follows from it.
func (c *simCheck) loose(i int) bool {
	e := c.events[i]
	if e.Kind != supervisor.EventExited && e.Kind != supervisor.EventPanicked {
		return false
	}
	for _, next := range c.events[i+1:] {
		if !next.Time.Equal(e.Time) {
			break
		}
		if next.Path == e.Path && next.Name == e.Name {
			return next.Kind != supervisor.EventStopped && next.Kind != supervisor.EventEnded &&
				next.Kind != supervisor.EventBackingOff && next.Kind != supervisor.EventGaveUp
		}
	}
	return true
}

// children compares what the children saw with the events.
func (c *simCheck) children() {
	type told struct{ start, ready, stop []time.Duration }
	events, saw := map[string]*told{}, map[string]*told{}
	of := func(m map[string]*told, key string) *told {
		if m[key] == nil {
			m[key] = &told{}
		}
		return m[key]
	}
	for _, e := range c.events {
		s := c.sups[e.Path]
		if path := strings.TrimPrefix(e.Path+"/"+e.Name, "/"); c.sups[path] != nil {
			continue // and so has no actor; or not to be told from one that has
		}
		key, at := strings.TrimPrefix(e.Path+"/"+e.Name, "/"), e.Time.Sub(c.epoch)
		if s.plan.Pool {
			key = e.Path + "/*"
		}
		t := of(events, key)
		switch e.Kind {
		case supervisor.EventStarting, supervisor.EventRestarted:
			t.start = append(t.start, at)
		case supervisor.EventReady:
			t.ready = append(t.ready, at)
		case supervisor.EventStopping:
			t.stop = append(t.stop, at)
		}
	}
	for key, runs := range c.runs {
		if c.sups[key] != nil {
			continue
		}
		t := of(saw, key)
		for _, r := range runs {
			t.start = append(t.start, r.start)
			if r.ready >= 0 && (r.told < 0 || r.ready < r.told) {
				t.ready = append(t.ready, r.ready)
			}
			if r.told >= 0 && r.told <= r.end {
				t.stop = append(t.stop, r.told)
			}
			if r.end < 0 {
				c.fault("%s runs for ever", key)
			}
		}
	}
	for key, e := range events {
		s := of(saw, key)
		for what, lists := range map[string][2][]time.Duration{
			"started": {e.start, s.start}, "ready": {e.ready, s.ready}, "told to stop": {e.stop, s.stop},
		} {
			slices.Sort(lists[0])
			slices.Sort(lists[1])
			if !slices.Equal(lists[0], lists[1]) {
				c.fault("%s: by the events %s at %v, by itself at %v", key, what, lists[0], lists[1])
			}
		}
	}
	for key := range saw {
		if events[key] == nil {
			c.fault("%s ran without an event", key)
		}
	}
}

func (k *checkedKid) String() string { return fmt.Sprintf("%s/%s", k.sup.path, k.spec.Name) }
