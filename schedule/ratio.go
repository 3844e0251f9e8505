package schedule

import (
	"math"
	"math/bits"
)

// A ratio is an exact point in virtual time. Floats would drift, and a full
// cycle would no longer give each lane exactly its share.
type ratio struct{ num, den uint64 }

func (r ratio) less(o ratio) bool {
	rh, rl := bits.Mul64(r.num, o.den)
	oh, ol := bits.Mul64(o.num, r.den)
	return rh < oh || rh == oh && rl < ol
}

// under returns the largest n with n/den <= r, or the largest number there is.
func (r ratio) under(den uint64) uint64 {
	hi, lo := bits.Mul64(r.num, den)
	if hi >= r.den {
		return math.MaxUint64
	}
	n, _ := bits.Div64(hi, lo, r.den)
	return n
}

// over returns the smallest n with n/den >= r, or the largest number there is.
func (r ratio) over(den uint64) uint64 {
	n := r.under(den)
	if (ratio{n, den}).less(r) {
		n = addCapped(n, 1)
	}
	return n
}

// A rank orders a heap: the smaller point first, then whoever waits longer.
type rank struct {
	ratio
	seq uint64
}

func (r rank) before(o rank) bool {
	if r.den == o.den { // always so in priority, often in the others
		return r.num < o.num || r.num == o.num && r.seq < o.seq
	}
	if r.less(o.ratio) {
		return true
	}
	return !o.less(r.ratio) && r.seq < o.seq
}

func addCapped(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}
