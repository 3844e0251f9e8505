package schedule

import "time"

// turn is what one turn adds to a lane's tag. It is more than 1 so that a lane
// that joins between two turns of the others can be placed there.
const turn = 1024

// weighted is EEVDF with turns of size one. A lane of weight w that has had k
// turns stands at k/w; its next turn is due at (k+1)/w. The present is the
// weighted mean of all ready lanes, which is where all would stand if turns
// could be cut as small as one likes; it never goes back, also when lanes leave
// that were ahead. A lane may go once its place is at most half a turn of the
// whole ahead of the present; of those, the earliest due goes.
//
// Why no lane is ever a whole turn off: let W be the sum of the weights and a
// lane's share be w/W, and count time in turns. The rule is earliest deadline
// first for jobs of length 1, of which the lane's j-th may start at
// ceil((j-1)/share - 1/2) and is due at ceil(j/share). Of the jobs that lie
// wholly between two moments b apart, each lane has fewer than (b + 1/2)*share
// (or none), all lanes together at most b, so every deadline is met; and no job
// starts a whole turn too early.
//
// Why two lanes a and b that stay do not drift apart, whoever else comes and
// goes: when a goes, b either may go too and is not due earlier, and then a
// stands at most 1/b ahead of it afterwards; or b stands past a horizon that
// never goes back, and a, which was before it, at most 1.5/a ahead of it. (The
// half is the most that the horizon is ahead of the present; it can shrink.)
type weighted struct {
	lanes
	early heap // by place: those that may have to wait for the present
	due   heap // by the time that their next turn is due: those that may go

	tags, weights uint64 // sums over the ready lanes; tags/weights is their mean
	level         ratio  // the present, as of the last turn: where newcomers start
	turns         uint64 // that were given
}

func newWeighted() *weighted { return &weighted{lanes: newLanes(), level: ratio{0, 1}} }

func (s *weighted) Push(item Item) {
	l := s.lane(item)
	if l.in != nil {
		s.tags, s.weights = s.tags-l.tag, s.weights-l.weight
	}
	l.reweigh(thousandths(item.Weight))
	if l.in == nil {
		// Whoever was away while others had turns starts level. Whoever was
		// not keeps its place, however late its turn came.
		if away := l.seq == 0 || l.left != s.turns; away && l.at().less(s.level) {
			l.tag = s.level.over(l.weight)
		}
		l.seq = s.nextSeq()
	}
	s.tags, s.weights = s.tags+l.tag, s.weights+l.weight
	if l.in == &s.due {
		s.due.set(l, l.deadline())
	} else {
		s.early.set(l, rank{l.at(), l.seq})
	}
}

func (l *lane) deadline() rank { return rank{ratio{l.tag + turn, l.weight}, l.seq} }

func (s *weighted) Peek() (Item, bool) {
	if s.Len() == 0 {
		return Item{}, false
	}
	if mean := (ratio{s.tags, s.weights}); s.level.less(mean) {
		s.level = mean
	}
	horizon := ratio{s.level.under(s.weights) + turn/2, s.weights}
	for len(s.early) > 0 && !horizon.less(s.early[0].rank.ratio) {
		l := s.early.first()
		s.early.remove(l)
		s.due.set(l, l.deadline())
	}
	return s.due.first().item, true // there is one: somebody stands at the mean or before it
}

func (s *weighted) Pop() (Item, bool) {
	item, ok := s.Peek()
	if ok {
		l := s.due.first()
		s.turns++
		s.take(l)
		l.tag += turn
	}
	return item, ok
}

func (s *weighted) take(l *lane) {
	s.tags, s.weights = s.tags-l.tag, s.weights-l.weight
	l.in.remove(l)
	l.left = s.turns
}

func (s *weighted) Remove(id string) bool {
	l := s.ready(id)
	if l == nil {
		return false
	}
	s.take(l)
	return true
}

func (s *weighted) Charge(string, time.Duration) {}

func (s *weighted) Forget(id string) {
	s.Remove(id)
	delete(s.byID, id)
}

func (s *weighted) Len() int { return len(s.early) + len(s.due) }

// Waiting plays the turns through on a copy: who may go depends on who went.
func (s *weighted) Waiting() []Item {
	n := s.Len()
	c := weighted{tags: s.tags, weights: s.weights, level: s.level, turns: s.turns}
	block := make([]lane, 0, n)
	for _, h := range []struct{ from, to *heap }{{&s.early, &c.early}, {&s.due, &c.due}} {
		for _, e := range *h.from {
			block = append(block, *e.lane)
			l := &block[len(block)-1]
			l.in = h.to
			*h.to = append(*h.to, entry{e.rank, l})
		}
	}
	items := make([]Item, n)
	for i := range items {
		items[i], _ = c.Pop()
	}
	return items
}
