package schedule_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/schedule"
)

// genLanes draws lanes with distinct ids; weights are in the steps that count.
func genLanes(most int) *rapid.Generator[[]item] {
	return rapid.Custom(func(t *rapid.T) []item {
		lanes := make([]item, rapid.IntRange(1, most).Draw(t, "lanes"))
		for i := range lanes {
			lanes[i] = item{
				ID:       fmt.Sprint("lane", i),
				Priority: rapid.IntRange(0, 100).Draw(t, "priority"),
				Weight:   float64(rapid.OneOf(rapid.IntRange(100, 10_000), rapid.SampledFrom([]int{100, 1000, 10_000})).Draw(t, "weight")) / 1000,
			}
		}
		return lanes
	})
}

// While the same lanes are ready, none is ever a whole turn off its share.
func TestWeightedPrefix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lanes := genLanes(20).Draw(t, "lanes")
		s := push(schedule.Weighted.New(), lanes...)
		total := 0.0
		for _, l := range lanes {
			total += l.Weight
		}
		had := make(map[string]int)
		for turn := 1; turn <= 700; turn++ {
			it, _ := s.Pop()
			had[it.ID]++
			s.Push(it)
			for _, l := range lanes {
				if off := float64(had[l.ID]) - float64(turn)*l.Weight/total; math.Abs(off) >= 1 {
					t.Fatalf("after %d turns %v is %.4f turns off its share", turn, l, off)
				}
			}
		}
	})
}

// Each full cycle gives each lane exactly its share, for as long as one likes.
func TestWeightedCycles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 10), 1, 10).Draw(t, "weights")
		s := schedule.Weighted.New()
		cycle := 0
		for i, w := range weights {
			s.Push(item{ID: fmt.Sprint(i), Weight: float64(w)})
			cycle += w
		}
		for n := range 50 {
			had := make([]int, len(weights))
			for range cycle {
				it, _ := s.Pop()
				var i int
				fmt.Sscan(it.ID, &i)
				had[i]++
				s.Push(it)
			}
			if diff := gocmp.Diff(weights, had); diff != "" {
				t.Fatalf("cycle %d: (-want +got):\n%s", n, diff)
			}
		}
	})
}

// The times that two lanes have had, over their weights, differ by no more than
// the longest turn of either, over its weight.
func TestFairShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lanes := genLanes(8).Draw(t, "lanes")
		longest := rapid.SliceOfN(rapid.IntRange(1, 10_000), len(lanes), len(lanes)).Draw(t, "longest turns, in ms")
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := push(schedule.Fair.New(), lanes...)
		used := make(map[string]float64) // seconds over weight
		bound := make(map[string]float64)
		for i, l := range lanes {
			// A turn is charged a millisecond on its own; and tags are whole
			// microseconds.
			bound[l.ID] = (float64(longest[i])/1000 + 0.002) / l.Weight
		}
		index := make(map[string]int)
		for i, l := range lanes {
			index[l.ID] = i
		}
		for range 1000 {
			it, _ := s.Pop()
			cost := time.Duration(1+dice.IntN(longest[index[it.ID]])) * time.Millisecond
			used[it.ID] += (cost + time.Millisecond).Seconds() / it.Weight
			s.Charge(it.ID, cost)
			s.Push(it)
			for _, a := range lanes {
				for _, b := range lanes {
					if ahead := used[a.ID] - used[b.ID]; ahead > bound[a.ID] {
						t.Fatalf("%v is %.4f s ahead of %v, bound %.4f", a, ahead, b, bound[a.ID])
					}
				}
			}
		}
	})
}

// A pool of workers and lanes with turns of very different length, a second to
// a minute and a half: Jain's index of the time that the lanes have had, over their
// weights, is near 1.
func TestFairJain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		// None may want more than all of one worker: it cannot have two.
		lanes := make([]item, rapid.IntRange(3*workers, 5*workers).Draw(t, "lanes"))
		var longest time.Duration
		mean := make([]time.Duration, len(lanes))
		s := schedule.Fair.New()
		for i := range lanes {
			lanes[i] = item{ID: strconv.Itoa(i), Weight: float64(rapid.IntRange(1, 3).Draw(t, "weight"))}
			mean[i] = time.Second << rapid.IntRange(0, 6).Draw(t, "log2 of the length")
			longest = max(longest, mean[i]*3/2)
			s.Push(lanes[i])
		}
		used := timeOf(s, lanes, mean, workers, 20*longest*time.Duration(len(lanes)), rapid.Uint64().Draw(t, "seed"))
		var sum, squares float64
		for i, u := range used {
			u /= lanes[i].Weight
			sum += u
			squares += u * u
		}
		if jain := sum * sum / (float64(len(lanes)) * squares); jain < 0.99 {
			t.Errorf("%d workers: Jain's index of %d lanes is %.4f: %v", workers, len(lanes), jain, used)
		}
	})
}

// timeOf lets workers serve lanes that always want another turn, and returns
// the seconds that each has had when the time is over. A turn takes half to one
// and a half times the lane's mean.
func timeOf(s schedule.Strategy, lanes []item, mean []time.Duration, workers int, end time.Duration, seed uint64) []float64 {
	type run struct {
		item      item
		lane      int
		end, cost time.Duration
	}
	dice := rand.New(rand.NewPCG(seed, 0))
	used := make([]float64, len(lanes))
	var running []run
	var now time.Duration
	for now < end {
		for len(running) < workers {
			it, _ := s.Pop()
			i, _ := strconv.Atoi(it.ID)
			cost := mean[i]/2 + time.Duration(dice.Int64N(int64(mean[i])))
			running = append(running, run{it, i, now + cost, cost})
		}
		first := slices.MinFunc(running, func(a, b run) int { return cmp.Compare(a.end, b.end) })
		running = slices.DeleteFunc(running, func(r run) bool { return r == first })
		now = first.end
		used[first.lane] += first.cost.Seconds()
		s.Charge(first.item.ID, first.cost)
		s.Push(first.item)
	}
	return used
}

// Priority's bound: aging*(MaxPriority-p) + n-1 turns of others.
func TestPriorityBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lanes := genLanes(10).Draw(t, "lanes")
		aging := rapid.IntRange(1, 5).Draw(t, "aging")
		s := push(schedule.NewPriority(aging), lanes...)
		since := make(map[string]int)
		for turn := range 1000 {
			it, _ := s.Pop()
			if waited, most := turn-since[it.ID], aging*(schedule.MaxPriority-it.Priority)+len(lanes)-1; waited > most {
				t.Fatalf("%v waited for %d turns, at most %d", it, waited, most)
			}
			since[it.ID] = turn + 1
			// Whoever comes back may have become more important.
			it.Priority = rapid.SampledFrom([]int{it.Priority, 100}).Draw(t, "priority")
			s.Push(it)
		}
		for id, last := range since {
			if waited := 1000 - last; waited > aging*schedule.MaxPriority+len(lanes) {
				t.Fatalf("%s starves: %d turns", id, waited)
			}
		}
	})
}

// The bound is no exaggeration: beside n-1 lanes at the top, p=0 waits for
// 100*aging turns and for the n-2 that were there before.
func TestPriorityBoundIsReached(t *testing.T) {
	t.Parallel()
	const n, aging = 5, 20
	s := push(schedule.NewPriority(aging), item{ID: "low"})
	for i := range n - 1 {
		s.Push(item{ID: fmt.Sprint("high", i), Priority: 100})
	}
	const want = aging*100 + n - 2
	waited := 0
	for waited <= want {
		it, _ := s.Pop()
		if it.ID == "low" {
			break
		}
		s.Push(it)
		waited++
	}
	if waited != want {
		t.Errorf("waited for %d turns, want %d", waited, want)
	}
}

// Whatever happens, Waiting tells what Pop will do, and nobody is lost,
// doubled or left to starve.
func TestLaneLife(t *testing.T) {
	t.Parallel()
	for _, kind := range allKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s, m := kind.New(), newModel(kind)
				for range rapid.IntRange(1, 200).Draw(t, "steps") {
					step(t, s, m, stepKinds[rapid.IntRange(0, len(stepKinds)-1).Draw(t, "step")],
						rapid.IntRange(0, 7).Draw(t, "lane"), rapid.IntRange(0, 10_000).Draw(t, "value"))
				}
				waiting := s.Waiting()
				if diff := gocmp.Diff(waiting, drain(s)); diff != "" {
					t.Fatalf("(-Waiting +Pop):\n%s", diff)
				}
			})
		})
	}
}
