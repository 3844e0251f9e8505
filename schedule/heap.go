package schedule

import "slices"

// A heap is a priority queue in which each lane knows where it is. The ranks lie
// in the slice itself, so that a comparison does not touch the lanes.
type heap []entry

// arity is how many children an entry has: four make the heap half as deep as
// two do, and with many lanes it is the misses of the cache that cost.
const arity = 4

type entry struct {
	rank rank
	lane *lane
}

// set puts a lane at its rank, whether it is new to the heap or not.
func (h *heap) set(l *lane, r rank) {
	if l.in != h {
		l.in, l.pos = h, len(*h)
		*h = append(*h, entry{})
	}
	h.settle(l.pos, entry{r, l})
}

// remove takes out a lane that is in the heap.
func (h *heap) remove(l *lane) {
	n := len(*h) - 1
	last := (*h)[n]
	(*h)[n] = entry{} // or the lane would never be collected
	*h = (*h)[:n]
	if last.lane != l {
		h.settle(l.pos, last)
	}
	l.in = nil
}

func (h heap) first() *lane { return h[0].lane }

// peek returns the item of the first lane, if there is one.
func (h heap) peek() (Item, bool) {
	if len(h) == 0 {
		return Item{}, false
	}
	return h.first().item, true
}

// sorted returns the items in the order of their ranks.
func (h heap) sorted() []Item {
	entries := slices.Clone(h)
	slices.SortFunc(entries, func(a, b entry) int {
		if a.rank.before(b.rank) {
			return -1
		}
		return 1
	})
	items := make([]Item, len(entries))
	for i, e := range entries {
		items[i] = e.lane.item
	}
	return items
}

// settle puts e where it belongs, given that i is free.
func (h heap) settle(i int, e entry) {
	for i > 0 {
		parent := (i - 1) / arity
		if !e.rank.before(h[parent].rank) {
			break
		}
		h.put(i, h[parent])
		i = parent
	}
	for {
		child := arity*i + 1
		if child >= len(h) {
			break
		}
		for other := child + 1; other < min(arity*i+1+arity, len(h)); other++ {
			if h[other].rank.before(h[child].rank) {
				child = other
			}
		}
		if !h[child].rank.before(e.rank) {
			break
		}
		h.put(i, h[child])
		i = child
	}
	h.put(i, e)
}

func (h heap) put(i int, e entry) {
	h[i] = e
	e.lane.pos = i
}
