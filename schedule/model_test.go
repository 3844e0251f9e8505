package schedule_test

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/schedule"
)

// A model is the naive form of all strategies: a scan over all lanes, with
// fractions of any size. It follows the papers, not the code.
type model struct {
	kind    schedule.Kind
	lanes   map[string]*modelLane
	arrival int
	turns   int
	level   *big.Rat
}

type modelLane struct {
	item     item
	ready    bool
	eligible bool // weighted: once a lane may go, it may go until it has gone
	arrival  int
	turns    int
	left     int      // the turns that had been given when it last stopped to be ready; -1: it never was
	at       *big.Rat // place in virtual time
}

func newModel(kind schedule.Kind) *model {
	return &model{kind: kind, lanes: make(map[string]*modelLane), level: new(big.Rat)}
}

// weight is the lane's weight in thousandths.
func (l *modelLane) weight() int64 { return int64(l.item.Weight*1000 + 0.5) }

// grain rounds the lane's place up to the grain of its weight: whole
// microseconds for fair, 1024ths of a turn for weighted.
func (m *model) grain(l *modelLane, place *big.Rat) *big.Rat {
	unit := big.NewRat(1, l.weight())
	if m.kind == schedule.Weighted {
		unit.Quo(unit, big.NewRat(1024, 1))
	}
	n := new(big.Rat).Quo(place, unit)
	ceil := new(big.Int).Add(n.Num(), new(big.Int).Sub(n.Denom(), big.NewInt(1)))
	ceil.Quo(ceil, n.Denom())
	return new(big.Rat).Mul(new(big.Rat).SetInt(ceil), unit)
}

func (m *model) push(it item) {
	l := m.lanes[it.ID]
	if l == nil {
		l = &modelLane{at: new(big.Rat), item: it, left: -1}
		m.lanes[it.ID] = l
	}
	reweighed := l.weight() != int64(it.Weight*1000+0.5)
	l.item = it
	if reweighed {
		l.at = m.grain(l, l.at)
	}
	if !l.ready {
		m.arrival++
		l.ready, l.eligible, l.arrival, l.turns = true, false, m.arrival, m.turns
		if away := m.kind != schedule.Weighted || l.left != m.turns; away && l.at.Cmp(m.level) < 0 {
			l.at = m.grain(l, m.level)
		}
	}
}

func (m *model) pop() (item, bool) {
	m.markEligible()
	var best *modelLane
	for _, l := range m.ready() {
		if best == nil || m.compare(l, best) < 0 {
			best = l
		}
	}
	if best == nil {
		return item{}, false
	}
	m.turns++
	best.ready, best.left = false, m.turns
	switch m.kind {
	case schedule.Weighted:
		best.at = new(big.Rat).Add(best.at, big.NewRat(1, best.weight()))
	case schedule.Fair:
		if m.level.Cmp(best.at) < 0 {
			m.level = best.at
		}
		m.charge(best.item.ID, time.Millisecond)
	}
	return best.item, true
}

// markEligible finds the present, the weighted mean of all places or what it was
// before, and marks the lanes that are at most half a turn ahead of it.
func (m *model) markEligible() {
	if m.kind != schedule.Weighted || len(m.ready()) == 0 {
		return
	}
	sum, weights := new(big.Rat), new(big.Rat)
	for _, l := range m.ready() {
		w := big.NewRat(l.weight(), 1)
		weights.Add(weights, w)
		sum.Add(sum, w.Mul(w, l.at))
	}
	now := sum.Quo(sum, weights)
	if m.level.Cmp(now) < 0 {
		m.level = now
	}
	// The present is rounded down to a 1024th of a turn of all.
	grains := new(big.Rat).Mul(m.level, new(big.Rat).Mul(weights, big.NewRat(1024, 1)))
	floor := new(big.Int).Quo(grains.Num(), grains.Denom())
	horizon := new(big.Rat).SetInt(floor.Add(floor, big.NewInt(512)))
	horizon.Quo(horizon, new(big.Rat).Mul(weights, big.NewRat(1024, 1)))
	for _, l := range m.ready() {
		l.eligible = l.eligible || l.at.Cmp(horizon) <= 0
	}
}

// compare says which of two lanes goes first.
func (m *model) compare(a, b *modelLane) int {
	c := 0
	switch m.kind {
	case schedule.Priority:
		rank := func(l *modelLane) int { return l.turns - schedule.DefaultAging*l.item.Priority }
		c = rank(a) - rank(b)
	case schedule.Weighted:
		due := func(l *modelLane) *big.Rat { return new(big.Rat).Add(l.at, big.NewRat(1, l.weight())) }
		switch {
		case a.eligible && !b.eligible:
			return -1
		case b.eligible && !a.eligible:
			return 1
		}
		c = due(a).Cmp(due(b))
	case schedule.Fair:
		c = a.at.Cmp(b.at)
	}
	if c == 0 {
		c = a.arrival - b.arrival
	}
	return c
}

func (m *model) charge(id string, cost time.Duration) {
	if l := m.lanes[id]; l != nil && m.kind == schedule.Fair && cost > 0 {
		l.at = new(big.Rat).Add(l.at, big.NewRat(cost.Microseconds(), l.weight()))
	}
}

func (m *model) remove(id string) bool {
	l := m.lanes[id]
	if l == nil || !l.ready {
		return false
	}
	l.ready, l.left = false, m.turns
	return true
}

func (m *model) ready() []*modelLane {
	var ready []*modelLane
	for _, id := range slices.Sorted(maps.Keys(m.lanes)) {
		if m.lanes[id].ready {
			ready = append(ready, m.lanes[id])
		}
	}
	return ready
}

// What may happen to a lane. Popping comes most often.
var stepKinds = [...]string{"push", "push", "pop", "pop", "turn", "turn", "turn", "remove", "charge", "forget", "transfer"}

// step does the same to a strategy and to its model and compares them.
func step(t interface{ Fatalf(string, ...any) }, s schedule.Strategy, m *model, what string, lane, value int) {
	id := string(rune('a' + lane))
	switch what {
	case "push":
		it := item{ID: id, Priority: value % 101, Weight: float64(max(value, 100)) / 1000}
		s.Push(it)
		m.push(it)
	case "pop", "turn":
		peeked, peekedOK := s.Peek()
		got, gotOK := s.Pop()
		want, wantOK := m.pop()
		if got != peeked || gotOK != peekedOK {
			t.Fatalf("%v: popped %v, %t after a peek at %v, %t", m.kind, got, gotOK, peeked, peekedOK)
		}
		if got != want || gotOK != wantOK {
			t.Fatalf("%v: popped %v, %t; want %v, %t", m.kind, got, gotOK, want, wantOK)
		}
		if what == "turn" && gotOK {
			cost := time.Duration(value) * time.Millisecond
			s.Charge(got.ID, cost)
			m.charge(got.ID, cost)
			s.Push(got)
			m.push(want)
		}
	case "remove":
		if got, want := s.Remove(id), m.remove(id); got != want {
			t.Fatalf("%v: removed %s: %t, want %t", m.kind, id, got, want)
		}
	case "charge":
		cost := time.Duration(value-100) * time.Second
		s.Charge(id, cost)
		m.charge(id, cost)
	case "forget":
		s.Forget(id)
		delete(m.lanes, id)
	case "transfer": // there and back leaves only round-robin as it was
		if m.kind != schedule.RoundRobin {
			break
		}
		other := schedule.RoundRobin.New()
		schedule.Transfer(s, other)
		schedule.Transfer(other, s)
	}
	if got, want := s.Len(), len(m.ready()); got != want {
		t.Fatalf("%v: %d are ready, want %d", m.kind, got, want)
	}
}

// FuzzAgainstModel takes three bytes for each step.
func FuzzAgainstModel(f *testing.F) {
	for kind := range len(allKinds()) {
		f.Add(byte(kind), []byte(fmt.Sprintf("%c\x00\x40%c\x01\x08\x02\x00\x02\x04\x00\x00\x03\x00\x00\x05\x00\x00", 0, 1)))
	}
	f.Fuzz(func(t *testing.T, kind byte, steps []byte) {
		k := allKinds()[int(kind)%len(allKinds())]
		s, m := k.New(), newModel(k)
		for ; len(steps) >= 3; steps = steps[3:] {
			step(t, s, m, stepKinds[int(steps[0])%len(stepKinds)], int(steps[1])%8, int(steps[2])*40)
		}
	})
}
