package schedule_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/schedule"
)

// weighted's promise for lanes that come and go: while two lanes stay, what they
// have had in any stretch of that time, over their weights, differs by no more
// than three turns of the lighter one. (A newcomer counts from its first turn:
// before that, those that are behind catch up.)
func TestWeightedWhileLanesComeAndGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCrowd(t, schedule.Weighted.New(), 12)
		c.churn(60, true, func(served item) {
			for pair, lead := range c.leads {
				a, b := c.there[pair[0]], c.there[pair[1]]
				if turns := (lead.most - lead.least) * min(a.item.Weight, b.item.Weight); a.had > 0 && b.had > 0 && turns > 3+1e-9 {
					t.Fatalf("%v and %v have drifted apart by %.3f turns of the lighter one", a.item, b.item, turns)
				}
			}
		})
	})
}

// fair's promise for lanes that come and go: the same as for those that stay.
func TestFairWhileLanesComeAndGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCrowd(t, schedule.Fair.New(), 12)
		c.byTime = true
		c.churn(60, true, func(served item) {
			for pair, lead := range c.leads {
				a, b := c.there[pair[0]], c.there[pair[1]]
				most := c.longest(a.item.ID) + c.longest(b.item.ID)
				if apart := lead.most - lead.least; apart > most {
					t.Fatalf("%v and %v have drifted apart by %.3f s, bound %.3f", a.item, b.item, apart, most)
				}
			}
		})
	})
}

// Nobody starves, whoever comes, goes and sleeps meanwhile. Only in weighted and
// fair must lanes keep their names for that.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	for _, kind := range allKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			forgets := kind == schedule.RoundRobin || kind == schedule.Priority
			rapid.Check(t, func(t *rapid.T) {
				c := newCrowd(t, kind.New(), 10)
				c.byTime = kind == schedule.Fair
				c.churn(80, forgets, func(item) {
					for id := range c.there {
						if waits, most := c.waits(kind, id); waits > most {
							t.Fatalf("%v has waited for %.3f, at most %.3f", c.there[id].item, waits, most)
						}
					}
				})
			})
		})
	}
}

// waits returns how long a lane has waited, in turns of others or in the time
// that they used, and the longest that it may.
func (c *crowd) waits(kind schedule.Kind, id string) (waits, most float64) {
	me := c.there[id]
	waits = float64(c.turns - me.since)
	switch kind {
	case schedule.RoundRobin:
		most = float64(len(c.lanes) - 1)
	case schedule.Priority:
		most = float64(schedule.DefaultAging*(schedule.MaxPriority-me.item.Priority) + len(c.lanes) - 1)
	case schedule.Weighted:
		lightest := 10.0
		for _, l := range c.lanes {
			lightest = min(lightest, l.Weight)
		}
		for _, l := range c.lanes {
			most += 4.5*l.Weight/lightest + 1
		}
	case schedule.Fair:
		waits = 0
		for i, l := range c.lanes {
			waits += c.used[i] - me.usedBefore[i]
			most += (c.longest(id) + c.longest(l.ID)) * l.Weight
		}
	}
	return waits, most
}

// Who stays and is behind when others leave that were behind as well keeps its
// claim. (Those that left shift the present past its next turn.)
func TestWeightedClaimOutlivesOthers(t *testing.T) {
	t.Parallel()
	s := push(schedule.Weighted.New(), item{ID: "a", Weight: 1})
	served := make(map[string]int)
	for i := range 100 {
		s.Push(item{ID: fmt.Sprint(i), Weight: 0.1})
	}
	turn := func() {
		it, _ := s.Pop()
		served[it.ID]++
		s.Push(it)
	}
	for range 55 { // half of a cycle
		turn()
	}
	for i := range 100 {
		if id := fmt.Sprint(i); served[id] == 0 {
			s.Forget(id)
		}
	}
	for len(served) > 0 { // until those that stay have had their second turn
		turn()
		for id, n := range served {
			if id != "a" && n < 2 {
				break
			}
			if id != "a" {
				delete(served, id)
			}
		}
		if len(served) == 1 {
			break
		}
	}
	if a := served["a"]; a < 18 || a > 22 {
		t.Errorf("beside lanes of a tenth of its weight that had 2 turns, it had %d", a)
	}
}

// A strategy that changes among lanes that come and go loses none, doubles none,
// and keeps the order of those that the new one ranks alike.
func TestChangesOfStrategy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCrowd(t, schedule.RoundRobin.New(), 12)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			c.churn(10, true, func(item) {})
			before := c.s.Waiting()
			to := rapid.SampledFrom(allKinds()).Draw(t, "to")
			next := to.New()
			schedule.Transfer(c.s, next)
			after := next.Waiting()
			if c.s.Len() != 0 || len(after) != len(c.there) || len(before) != len(after) {
				t.Fatalf("to %v: %d are left, %d were there, %d are now, want %d", to, c.s.Len(), len(before), len(after), len(c.there))
			}
			alike := func(a, b item) bool {
				switch to {
				case schedule.Priority:
					return a.Priority == b.Priority
				case schedule.Weighted:
					return a.Weight == b.Weight
				}
				return true
			}
			for i, a := range before {
				for _, b := range before[i+1:] {
					if alike(a, b) && slices.Index(after, a) > slices.Index(after, b) {
						t.Fatalf("to %v: %v was before %v:\n%v\n%v", to, a, b, before, after)
					}
				}
				if !slices.Contains(after, a) {
					t.Fatalf("to %v: %v is lost", to, a)
				}
			}
			c.s = next
		}
	})
}

// A crowd is a strategy among lanes that come, go, sleep and come back.
type crowd struct {
	t      *rapid.T
	s      schedule.Strategy
	lanes  []item
	cost   []time.Duration // of each lane's turns
	used   []float64       // seconds of each lane
	byTime bool            // shares are of time, not of turns

	turns int // that were given
	there map[string]*guest
	leads map[[2]string]lead
}

// A guest is a lane that is ready.
type guest struct {
	item       item
	had        float64   // since it came: turns over weight, or seconds over weight
	since      int       // the turn since which it waits
	usedBefore []float64 // what all had used then
}

// A lead is how far the first of two lanes was ahead of the second, at least and
// at most, while both were there.
type lead struct{ least, most float64 }

func newCrowd(t *rapid.T, s schedule.Strategy, most int) *crowd {
	c := &crowd{t: t, s: s, lanes: genLanes(most).Draw(t, "lanes"), there: make(map[string]*guest), leads: make(map[[2]string]lead)}
	for range c.lanes {
		c.cost = append(c.cost, time.Duration(rapid.IntRange(1, 10_000).Draw(t, "cost in ms"))*time.Millisecond)
	}
	c.used = make([]float64, len(c.lanes))
	return c
}

// longest is what a turn of a lane takes of its share. Each is charged a
// millisecond on its own, and places in virtual time are whole microseconds.
func (c *crowd) longest(id string) float64 {
	i := c.index(id)
	return (c.cost[i] + time.Millisecond + 2*time.Microsecond).Seconds() / c.lanes[i].Weight
}

func (c *crowd) index(id string) int {
	return slices.IndexFunc(c.lanes, func(l item) bool { return l.ID == id })
}

// churn lets lanes come, go and sleep between turns, and calls check after each
// turn.
func (c *crowd) churn(steps int, forgets bool, check func(served item)) {
	kinds := []string{"come", "come", "sleep", "turns", "turns", "turns"}
	if forgets {
		kinds = append(kinds, "forget")
	}
	for range steps {
		l := c.lanes[rapid.IntRange(0, len(c.lanes)-1).Draw(c.t, "lane")]
		switch rapid.SampledFrom(kinds).Draw(c.t, "step") {
		case "come":
			c.come(l)
		case "sleep":
			c.leave(l.ID)
			c.s.Remove(l.ID)
		case "forget":
			c.leave(l.ID)
			c.s.Forget(l.ID)
		case "turns":
			for range rapid.IntRange(1, 20).Draw(c.t, "turns") {
				if it, ok := c.turn(); ok {
					check(it)
				}
			}
		}
	}
}

func (c *crowd) come(l item) {
	if c.there[l.ID] != nil {
		return
	}
	c.s.Push(l)
	c.there[l.ID] = &guest{item: l, since: c.turns, usedBefore: slices.Clone(c.used)}
	c.watch(l.ID)
}

// watch measures the leads of a lane from now on.
func (c *crowd) watch(id string) {
	for other, o := range c.there {
		if other != id {
			ahead := c.there[id].had - o.had
			c.leads[[2]string{id, other}] = lead{ahead, ahead}
			c.leads[[2]string{other, id}] = lead{-ahead, -ahead}
		}
	}
}

func (c *crowd) leave(id string) {
	delete(c.there, id)
	for pair := range c.leads {
		if pair[0] == id || pair[1] == id {
			delete(c.leads, pair)
		}
	}
}

// turn gives one turn to whoever is next, who wants another one.
func (c *crowd) turn() (item, bool) {
	it, ok := c.s.Pop()
	if !ok {
		return it, false
	}
	i, g := c.index(it.ID), c.there[it.ID]
	c.turns++
	c.used[i] += (c.cost[i] + time.Millisecond).Seconds()
	c.s.Charge(it.ID, c.cost[i])
	c.s.Push(it)
	first := g.had == 0
	if g.had += 1 / it.Weight; c.byTime {
		g.had += (c.cost[i]+time.Millisecond).Seconds()/it.Weight - 1/it.Weight
	}
	g.since, g.usedBefore = c.turns, slices.Clone(c.used)
	if first && !c.byTime {
		c.watch(it.ID)
	}
	for pair, l := range c.leads {
		if pair[0] == it.ID || pair[1] == it.ID {
			ahead := c.there[pair[0]].had - c.there[pair[1]].had
			c.leads[pair] = lead{min(l.least, ahead), max(l.most, ahead)}
		}
	}
	return it, true
}
