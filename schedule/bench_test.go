package schedule_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/smallnest/weighted"

	"github.com/poppobuilder/poppobuilder/schedule"
)

// busy returns a strategy with n lanes that have all had turns.
func busy(kind schedule.Kind, n int) schedule.Strategy {
	s := kind.New()
	for i := range n {
		s.Push(item{ID: strconv.Itoa(i), Priority: i % 101, Weight: 0.1 + float64(i%100)/10})
	}
	for range min(2*n, 200_000) {
		turn(s)
	}
	return s
}

// turn is one scheduling decision: pop, charge, push again.
func turn(s schedule.Strategy) {
	it, _ := s.Pop()
	s.Charge(it.ID, time.Duration(len(it.ID))*time.Second)
	s.Push(it)
}

func BenchmarkTurn(b *testing.B) {
	for _, kind := range allKinds() {
		for _, n := range []int{10, 1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%v/%d", kind, n), func(b *testing.B) {
				s := busy(kind, n)
				b.ReportAllocs()
				for b.Loop() {
					turn(s)
				}
			})
		}
	}
}

// The floor: nginx's smooth weighted round robin, in the plainest form there is.
func BenchmarkNaiveScan(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			type lane struct{ weight, current int }
			lanes := make([]lane, n)
			total := 0
			for i := range lanes {
				lanes[i].weight = 1 + i%100
				total += lanes[i].weight
			}
			for b.Loop() {
				best := 0
				for i := range lanes {
					lanes[i].current += lanes[i].weight
					if lanes[i].current > lanes[best].current {
						best = i
					}
				}
				lanes[best].current -= total
			}
		})
	}
}

// The same algorithm in a library that many use. (Its random and its LVS variant
// are no match: the first is not even, the second comes in bursts.)
func BenchmarkSmallnestSmooth(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var lanes weighted.SW
			for i := range n {
				lanes.Add(i, 1+i%100)
			}
			b.ReportAllocs()
			for b.Loop() {
				lanes.Next()
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	for _, kind := range allKinds() {
		s := busy(kind, 1000)
		if got := testing.AllocsPerRun(10_000, func() {
			turn(s)
			s.Remove("7")
			s.Push(item{ID: "7", Priority: 3, Weight: 2})
			s.Push(item{ID: "7", Priority: 4, Weight: 3})
		}); got != 0 {
			t.Errorf("%v: %v allocations a turn", kind, got)
		}
	}
}
