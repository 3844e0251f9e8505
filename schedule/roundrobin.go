package schedule

import "time"

// roundRobin is a first-in, first-out list of lanes.
type roundRobin struct {
	lanes map[string]*link
	ring  link // its next is the first lane, its prev the last one
	ready int
}

// A link is a lane in the list; a lane that is not ready has a nil next.
type link struct {
	item       Item
	prev, next *link
}

func newRoundRobin() *roundRobin {
	s := &roundRobin{lanes: make(map[string]*link)}
	s.ring.prev, s.ring.next = &s.ring, &s.ring
	return s
}

func (s *roundRobin) Push(item Item) {
	l := s.lanes[item.ID]
	if l == nil {
		l = new(link)
		s.lanes[item.ID] = l
	}
	l.item = item
	if l.next != nil {
		return
	}
	l.prev, l.next = s.ring.prev, &s.ring
	l.prev.next, l.next.prev = l, l
	s.ready++
}

func (s *roundRobin) Peek() (Item, bool) {
	return s.ring.next.item, s.ready > 0 // the ring itself has no item
}

func (s *roundRobin) Pop() (Item, bool) {
	first := s.ring.next
	if first == &s.ring {
		return Item{}, false
	}
	s.unlink(first)
	return first.item, true
}

func (s *roundRobin) Remove(id string) bool {
	l := s.lanes[id]
	if l == nil || l.next == nil {
		return false
	}
	s.unlink(l)
	return true
}

func (s *roundRobin) Charge(string, time.Duration) {}

func (s *roundRobin) Forget(id string) {
	s.Remove(id)
	delete(s.lanes, id)
}

func (s *roundRobin) Len() int { return s.ready }

func (s *roundRobin) Waiting() []Item {
	items := make([]Item, 0, s.ready)
	for l := s.ring.next; l != &s.ring; l = l.next {
		items = append(items, l.item)
	}
	return items
}

func (s *roundRobin) unlink(l *link) {
	l.prev.next, l.next.prev = l.next, l.prev
	l.prev, l.next = nil, nil
	s.ready--
}
