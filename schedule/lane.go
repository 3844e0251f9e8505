package schedule

import "math"

// A lane is what a strategy remembers of an id. Its place in virtual time is
// tag/weight; priority leaves both alone. Each strategy uses some of the numbers.
type lane struct {
	item Item

	in  *heap // nil while the lane is not ready
	pos int

	seq    uint64 // grows with each time that a lane becomes ready
	since  uint64 // turns that had been given when the lane became ready
	left   uint64 // turns that had been given when it last stopped to be so
	tag    uint64
	weight uint64 // in thousandths
}

func (l *lane) at() ratio { return ratio{l.tag, l.weight} }

// lanes is the memory that the heap strategies share.
type lanes struct {
	byID map[string]*lane
	seq  uint64
}

func newLanes() lanes { return lanes{byID: make(map[string]*lane)} }

// lane returns the lane of an item, made if need be, with the item noted.
func (s *lanes) lane(item Item) *lane {
	l := s.byID[item.ID]
	if l == nil {
		l = &lane{weight: thousandths(item.Weight)}
		s.byID[item.ID] = l
	}
	l.item = item
	return l
}

// ready returns the lane of an id if it is ready, otherwise nil.
func (s *lanes) ready(id string) *lane {
	if l := s.byID[id]; l != nil && l.in != nil {
		return l
	}
	return nil
}

func (s *lanes) nextSeq() uint64 {
	s.seq++
	return s.seq
}

// reweigh changes the weight and keeps the place in virtual time.
func (l *lane) reweigh(weight uint64) {
	if weight != l.weight {
		l.tag, l.weight = l.at().over(weight), weight
	}
}

// thousandths makes of a weight a whole number in 100..10000, so that virtual
// time can be exact.
func thousandths(weight float64) uint64 {
	if !(weight > 0) { // also NaN
		weight = 1
	}
	return uint64(math.Round(min(max(weight, MinWeight), MaxWeight) * 1000))
}
