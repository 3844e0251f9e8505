package schedule

import "time"

// overhead is what a turn costs before anything is charged, in microseconds. A
// lane whose turns take no time, because its program cannot even start, would
// otherwise be first for ever.
const overhead = 1000

// fair is start-time fair queueing. A lane stands at the time that it has used
// (in microseconds) over its weight, and the one that stands furthest back goes.
type fair struct {
	lanes
	heap  heap
	level ratio // where the foremost of those served stood: newcomers start there
}

func newFair() *fair { return &fair{lanes: newLanes(), level: ratio{0, 1}} }

func (s *fair) Push(item Item) {
	l := s.lane(item)
	l.reweigh(thousandths(item.Weight))
	if l.in == nil {
		l.seq = s.nextSeq()
		if l.at().less(s.level) {
			l.tag = s.level.over(l.weight)
		}
	}
	s.heap.set(l, rank{l.at(), l.seq})
}

func (s *fair) Peek() (Item, bool) { return s.heap.peek() }

func (s *fair) Pop() (Item, bool) {
	if len(s.heap) == 0 {
		return Item{}, false
	}
	l := s.heap.first()
	s.heap.remove(l)
	if s.level.less(l.at()) {
		s.level = l.at()
	}
	l.tag = addCapped(l.tag, overhead)
	return l.item, true
}

func (s *fair) Remove(id string) bool {
	l := s.ready(id)
	if l == nil {
		return false
	}
	s.heap.remove(l)
	return true
}

func (s *fair) Charge(id string, cost time.Duration) {
	l := s.byID[id]
	if l == nil || cost <= 0 {
		return
	}
	l.tag = addCapped(l.tag, uint64(cost.Microseconds()))
	if l.in != nil {
		s.heap.set(l, rank{l.at(), l.seq})
	}
}

func (s *fair) Forget(id string) {
	s.Remove(id)
	delete(s.byID, id)
}

func (s *fair) Len() int        { return len(s.heap) }
func (s *fair) Waiting() []Item { return s.heap.sorted() }
