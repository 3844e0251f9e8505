package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// SupervisorStatus is what a [Supervisor] or a [Pool] knows about itself and its
// children at one moment.
type SupervisorStatus struct {
	Name     string
	State    State // idle, starting (some child has not been ready yet), ready, stopping
	Since    time.Time
	Strategy Strategy
	// Restarts is how often a child was started again because it or a sibling
	// had failed.
	Restarts int
	// Abandoned is how many goroutines should have ended and still run. Those
	// of supervisors inside are in their own status.
	Abandoned int
	Children  []ChildStatus // in the order of their start; of a Pool in none
}

// ChildStatus is what a [Supervisor] knows about one child. Of a [*Restarter]
// that runs it is what that knows about its service.
type ChildStatus struct {
	Status
	// Inside is the status of a child that is a supervisor itself, or a
	// Restarter of one; nil of any other.
	Inside      *SupervisorStatus
	Restart     Restart
	Significant bool
}

// Status is what the supervisor knows now, with those inside it. It never waits
// for a child.
func (s *Supervisor) Status() SupervisorStatus {
	s.mu.Lock()
	s.now()
	st := SupervisorStatus{
		Name:      s.opts.Name,
		State:     s.phase.state(),
		Since:     s.since,
		Strategy:  s.opts.Strategy,
		Restarts:  s.restarts,
		Abandoned: len(s.loose),
		Children:  make([]ChildStatus, len(s.members)),
	}
	var inside []int
	for i, m := range s.members {
		m.report(&st.Children[i])
		if m.nested {
			inside = append(inside, i)
		}
	}
	nests := make([]nest, len(inside))
	for n, i := range inside {
		nests[n] = s.members[i].service.(nest)
	}
	s.mu.Unlock()
	for n, i := range inside { // not under mu, which is ours alone
		st.Children[i].look(nests[n])
	}
	return st
}

// look adds what n knows about itself.
func (c *ChildStatus) look(n nest) {
	switch s := n.core(); {
	case s.only == nil:
		in := s.Status()
		c.Inside = &in
	default:
		in := s.Status().Children[0]
		c.Inside = in.Inside
		c.Generation, c.Restarts = in.Generation, in.Restarts
		if c.State == StateReady || c.State == StateStarting {
			c.State, c.Since, c.Trouble = in.State, in.Since, in.Trouble
		} else if c.Trouble == nil {
			c.Trouble = in.Trouble
		}
	}
}

// A nest is a Supervisor, a Pool or a Restarter, or has one embedded.
type nest interface {
	// core is what holds the children; nil if the value is.
	core() *Supervisor
}

func (s *Supervisor) core() *Supervisor { return s }

// unwrapped is svc, or what is inside of it if it is a Restarter.
func unwrapped(svc Service) Service {
	for {
		n, ok := svc.(nest)
		if !ok || n.core().only == nil {
			return svc
		}
		svc = n.core().only
	}
}

// innerHub is where the events of svc come from, nil if it has none.
func innerHub(svc Service) *hub {
	switch svc := svc.(type) {
	case nest:
		return &svc.core().hub
	case *Tree:
		return &svc.hub
	default:
		return nil
	}
}

func (p phase) state() State {
	switch p {
	case phaseStarting:
		return StateStarting
	case phaseUp:
		return StateReady
	case phaseStopping:
		return StateStopping
	default:
		return StateIdle
	}
}

// report is called with mu held.
func (m *member) report(c *ChildStatus) {
	c.Name, c.State, c.Since = m.name, m.state, m.since
	c.Generation, c.Restarts = m.generation, m.restarts
	c.Restart, c.Significant = m.restart, m.policy.Load().significant
	if m.trouble != nil {
		t := m.trouble.Trouble
		if m.stable() {
			t.Consecutive = 0
		}
		c.Trouble = &t
	}
}

// Abandoned names the children whose goroutines should have ended and still run,
// in the order of the alphabet, a name for each goroutine. A name inside a
// supervisor that is a child comes as a path ("inner/worker").
func (s *Supervisor) Abandoned() []string {
	s.mu.Lock()
	var names []string
	for r := range s.loose {
		names = append(names, r.m.name)
	}
	inside := make(map[string]Service)
	for _, m := range s.members {
		inside[m.name] = m.service
	}
	s.mu.Unlock()
	for name, svc := range inside {
		var below []string
		switch svc := unwrapped(svc).(type) {
		case nest:
			below = svc.core().Abandoned()
		case *Tree:
			below = svc.Unstopped()
		}
		for _, n := range below {
			names = append(names, name+"/"+n)
		}
	}
	slices.Sort(names)
	return names
}

// String is a text tree, a line for each child, without a line feed at the end:
//
//	root (one_for_one) ready
//	├─ store ready
//	└─ pool (rest_for_one) ready, 3 restarts
//	   ├─ worker-0 ready, 1 restart
//	   └─ worker-1 backoff, 2 restarts, next try in 4s: exit status 1
//
// Times are those of the status, and counted from now.
func (st SupervisorStatus) String() string { return st.text(time.Now()) }

func (st SupervisorStatus) text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s) %s", st.Name, st.Strategy, st.State)
	count(&b, st.Restarts, "restart", "restarts")
	st.branches(&b, "", now)
	return b.String()
}

// branches writes the children, each line after the prefix.
func (st SupervisorStatus) branches(b *strings.Builder, prefix string, now time.Time) {
	if st.Abandoned > 0 {
		count(b, st.Abandoned, "goroutine abandoned", "goroutines abandoned")
	}
	for i, c := range st.Children {
		fork, below := "├─ ", "│  "
		if i == len(st.Children)-1 {
			fork, below = "└─ ", "   "
		}
		b.WriteString("\n" + prefix + fork)
		c.line(b, now)
		if c.Inside != nil {
			c.Inside.branches(b, prefix+below, now)
		}
	}
}

func (c *ChildStatus) line(b *strings.Builder, now time.Time) {
	b.WriteString(c.Name)
	if c.Inside != nil {
		fmt.Fprintf(b, " (%s)", c.Inside.Strategy)
	}
	fmt.Fprintf(b, " %s", c.State)
	count(b, c.Restarts, "restart", "restarts")
	t := c.Trouble
	if t == nil {
		return
	}
	if !t.NextTry.IsZero() {
		fmt.Fprintf(b, ", next try in %s", max(t.NextTry.Sub(now), 0).Round(time.Millisecond))
	}
	if t.LastError != nil && c.State != StateReady {
		text, _, _ := strings.Cut(fmt.Sprint(t.LastError), "\n") // an Error that panics too
		fmt.Fprintf(b, ": %s", text)
	}
}

func count(b *strings.Builder, n int, one, many string) {
	switch n {
	case 0:
	case 1:
		b.WriteString(", 1 " + one)
	default:
		fmt.Fprintf(b, ", %d %s", n, many)
	}
}
