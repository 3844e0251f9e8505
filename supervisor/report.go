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
	Children  []ChildStatus // in the order of their start
}

// ChildStatus is what a [Supervisor] knows about one child. Of a [*Restarter]
// that runs it is what that knows about its service.
type ChildStatus struct {
	Status
	// Inside is the status of a child that is a supervisor itself, nil of any
	// other.
	Inside      *SupervisorStatus
	Restart     Restart
	Significant bool
}

// Status is what the supervisor knows now, with those inside it. It never waits
// for a child.
func (s *Supervisor) Status() SupervisorStatus {
	s.mu.Lock()
	now := time.Now()
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
		m.report(&st.Children[i], now)
		if m.nested {
			inside = append(inside, i)
		}
	}
	services := make([]Service, len(inside))
	for n, i := range inside {
		services[n] = s.members[i].service
	}
	s.mu.Unlock()
	for n, i := range inside { // not under mu, which is ours alone
		st.Children[i].look(services[n])
	}
	return st
}

// look adds what svc knows about itself.
func (c *ChildStatus) look(svc Service) {
	switch svc := svc.(type) {
	case statuser:
		in := svc.Status()
		c.Inside = &in
	case *Restarter:
		if c.State == StateReady {
			name := c.Name
			c.Status = svc.Status()
			c.Name = name
		}
	}
}

// A statuser is a Supervisor or a Pool.
type statuser interface {
	Status() SupervisorStatus
	Abandoned() []string
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
func (m *member) report(c *ChildStatus, now time.Time) {
	c.Name, c.State, c.Since = m.name, m.state, m.since
	c.Generation, c.Restarts = m.generation, m.restarts
	c.Restart, c.Significant = m.restart, m.significant
	if m.trouble != nil {
		t := m.trouble.Trouble
		if m.stable(now) {
			t.Consecutive = 0
		}
		c.Trouble = &t
	}
}

// Abandoned names the children whose goroutines should have ended and still run,
// in the order of the alphabet, a name for each goroutine. A name inside an
// inner supervisor comes as a path ("inner/worker").
func (s *Supervisor) Abandoned() []string {
	s.mu.Lock()
	var names []string
	for r := range s.loose {
		names = append(names, r.m.name)
	}
	inside := make(map[string]statuser)
	for _, m := range s.members {
		if svc, ok := m.service.(statuser); ok {
			inside[m.name] = svc
		}
	}
	s.mu.Unlock()
	for name, svc := range inside {
		for _, n := range svc.Abandoned() {
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
		text, _, _ := strings.Cut(t.LastError.Error(), "\n")
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
