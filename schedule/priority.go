package schedule

import "time"

// DefaultAging is the aging of a strategy that [Kind.New] makes of [Priority]:
// one level of priority is worth twenty turns. It is slow enough that "higher
// first" is what one sees, and fast enough that a lane at 0 beside lanes at 100
// goes after some 2,000 turns at the latest.
const DefaultAging = 20

// NewPriority returns a strategy that serves the highest priority first and
// equal ones in turn.
//
// An item that waits gains one level for every aging turns that go to others,
// without an end, so that nothing starves: with n lanes ready at most at a
// time, an item of priority p waits for at most
//
//	aging*(MaxPriority-p) + n - 1
//
// turns of others. At the same level, whoever has waited longer goes first. An
// aging of 0 or less switches it off; then an item can wait for ever.
func NewPriority(aging int) Strategy {
	return &priority{lanes: newLanes(), aging: uint64(max(aging, 0))}
}

// priority ages in a way that needs no updates: that all waiting items gain
// equally leaves their order alone, so an item's rank is fixed on arrival, as a
// deadline counted in turns.
type priority struct {
	lanes
	heap  heap
	aging uint64
	turns uint64
}

func (s *priority) Push(item Item) {
	l := s.lane(item)
	if l.in == nil {
		l.seq, l.since = s.nextSeq(), s.turns
	}
	s.heap.set(l, s.rank(l))
}

func (s *priority) rank(l *lane) rank {
	below := uint64(MaxPriority - min(max(l.item.Priority, MinPriority), MaxPriority))
	if s.aging == 0 {
		return rank{ratio{below, 1}, l.seq}
	}
	return rank{ratio{l.since + s.aging*below, 1}, l.seq}
}

func (s *priority) Peek() (Item, bool) { return s.heap.peek() }

func (s *priority) Pop() (Item, bool) {
	if len(s.heap) == 0 {
		return Item{}, false
	}
	l := s.heap.first()
	s.heap.remove(l)
	s.turns++
	return l.item, true
}

func (s *priority) Remove(id string) bool {
	l := s.ready(id)
	if l == nil {
		return false
	}
	s.heap.remove(l)
	return true
}

func (s *priority) Charge(string, time.Duration) {}

func (s *priority) Forget(id string) {
	s.Remove(id)
	delete(s.byID, id)
}

func (s *priority) Len() int        { return len(s.heap) }
func (s *priority) Waiting() []Item { return s.heap.sorted() }
