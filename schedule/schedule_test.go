package schedule_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poppobuilder/poppobuilder/schedule"
)

type item = schedule.Item

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// Who goes, while every lane always wants another turn.
func TestTurns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		s     schedule.Strategy
		lanes []item
		cost  map[string]int // seconds a turn
		want  string
	}{
		{
			"round-robin knows neither priority nor weight",
			schedule.RoundRobin.New(),
			[]item{{ID: "a"}, {ID: "b", Priority: 100, Weight: 10}, {ID: "c"}},
			nil, "a b c a b c a",
		},
		{
			"priority: the highest, as long as it wants",
			schedule.Priority.New(),
			[]item{{ID: "low", Priority: 10}, {ID: "high", Priority: 90}, {ID: "mid", Priority: 50}},
			nil, "high high high high",
		},
		{
			"priority: equal ones in turn",
			schedule.Priority.New(),
			[]item{{ID: "low", Priority: 10}, {ID: "x", Priority: 90}, {ID: "y", Priority: 90}},
			nil, "x y x y x y",
		},
		{
			"priority: what is out of range counts as the end of it",
			schedule.NewPriority(1),
			[]item{{ID: "low", Priority: -1000}, {ID: "x", Priority: 1000}, {ID: "y", Priority: 100}},
			nil, "x y x y x y",
		},
		{
			"priority, aging fast: one level is worth two turns",
			schedule.NewPriority(2),
			[]item{{ID: "low", Priority: 8}, {ID: "high", Priority: 10}},
			nil, "high high high high low high high high high low",
		},
		{
			"priority without aging starves",
			schedule.NewPriority(0),
			[]item{{ID: "low", Priority: 99}, {ID: "x", Priority: 100}},
			nil, strings.TrimSpace(strings.Repeat("x ", 500)),
		},
		{
			"weighted 3:1, evenly",
			schedule.Weighted.New(),
			[]item{{ID: "a", Weight: 3}, {ID: "b", Weight: 1}},
			nil, "a a b a a a b a",
		},
		{
			"weighted 3:1, whoever came first",
			schedule.Weighted.New(),
			[]item{{ID: "b", Weight: 1}, {ID: "a", Weight: 3}},
			nil, "a a b a a a b a",
		},
		{
			"weighted 5:1:1",
			schedule.Weighted.New(),
			[]item{{ID: "a", Weight: 5}, {ID: "b", Weight: 1}, {ID: "c", Weight: 1}},
			nil, "a a b a a c a a a b a a c a",
		},
		{
			"weighted 3:2",
			schedule.Weighted.New(),
			[]item{{ID: "a", Weight: 3}, {ID: "b", Weight: 2}},
			nil, "a b a b a a b a b a",
		},
		{
			"weighted, all equal, is round-robin",
			schedule.Weighted.New(),
			[]item{{ID: "a", Weight: 2}, {ID: "b", Weight: 2}, {ID: "c", Weight: 2}},
			nil, "a b c a b c",
		},
		{
			"weighted, one heavy among many light ones, does not go in bursts",
			schedule.Weighted.New(),
			[]item{{ID: "H", Weight: 4}, {ID: "a", Weight: 1}, {ID: "b", Weight: 1}, {ID: "c", Weight: 1}, {ID: "d", Weight: 1}},
			nil, "H a H b H c d H",
		},
		{
			"weighted: no weight, or none that makes sense, is 1",
			schedule.Weighted.New(),
			[]item{{ID: "a"}, {ID: "b", Weight: math.NaN()}, {ID: "c", Weight: -3}, {ID: "d", Weight: 1}},
			nil, "a b c d a b c d",
		},
		{
			"weighted: what is out of range counts as the end of it",
			schedule.Weighted.New(),
			[]item{{ID: "a", Weight: math.Inf(1)}, {ID: "b", Weight: 5}},
			nil, "a b a a b a",
		},
		{
			"fair: long turns come less often",
			schedule.Fair.New(),
			[]item{{ID: "long", Weight: 1}, {ID: "s", Weight: 1}},
			map[string]int{"long": 30, "s": 10},
			"long s s s long s s s long s s s",
		},
		{
			"fair: twice the weight, twice the time",
			schedule.Fair.New(),
			[]item{{ID: "two", Weight: 2}, {ID: "one", Weight: 1}},
			map[string]int{"two": 10, "one": 10},
			"two one two one two two one two",
		},
		{
			"fair: turns that cost nothing are taken in turn",
			schedule.Fair.New(),
			[]item{{ID: "a", Weight: 1}, {ID: "b", Weight: 1}, {ID: "c", Weight: 1}},
			nil, "a b c a b c",
		},
	} {
		n := len(strings.Fields(test.want))
		if got := turns(push(test.s, test.lanes...), n, test.cost); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

// What every strategy does.
func TestContract(t *testing.T) {
	t.Parallel()
	for _, kind := range allKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			s := kind.New()
			if it, ok := s.Pop(); ok {
				t.Errorf("popped %v of an empty strategy", it)
			}
			if s.Remove("a") || s.Len() != 0 || len(s.Waiting()) != 0 {
				t.Error("there is something in an empty strategy")
			}
			s.Charge("a", time.Hour) // unknown lanes are ignored
			s.Forget("a")

			push(s, item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1}, item{ID: "c", Weight: 1})
			push(s, item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1}) // ready already: no new place
			if got := ids(s.Waiting()); got != "a b c" || s.Len() != 3 {
				t.Errorf("waiting: %s, %d", got, s.Len())
			}
			if !s.Remove("b") || s.Remove("b") || s.Len() != 2 {
				t.Error("remove")
			}
			if got := turns(s, 4, nil); got != "a c a c" {
				t.Errorf("after Remove: %s", got)
			}
			s.Forget("a")
			if got := ids(drain(s)); got != "c" || s.Len() != 0 {
				t.Errorf("after Forget: %s, %d", got, s.Len())
			}
			s.Forget("c") // not ready, but remembered
			push(s, item{ID: "c", Weight: 1, Priority: 7})
			if got := drain(s); !cmp.Equal(got, []item{{ID: "c", Weight: 1, Priority: 7}}) {
				t.Errorf("popped %v", got)
			}
		})
	}
}

// A lane that is ready takes a new priority or weight where it stands.
func TestPushUpdates(t *testing.T) {
	t.Parallel()

	p := push(schedule.Priority.New(), item{ID: "a", Priority: 1}, item{ID: "b", Priority: 5}, item{ID: "c", Priority: 5})
	p.Push(item{ID: "a", Priority: 5})
	if got := ids(p.Waiting()); got != "a b c" {
		t.Errorf("raised to its equals, who came later: %s", got)
	}
	p.Push(item{ID: "b", Priority: 4})
	if got := drain(p); !cmp.Equal(got, []item{{ID: "a", Priority: 5}, {ID: "c", Priority: 5}, {ID: "b", Priority: 4}}) {
		t.Errorf("lowered: %v", got)
	}

	w := push(schedule.Weighted.New(), item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1})
	turns(w, 20, nil)
	w.Push(item{ID: "a", Weight: 3})
	if got := turns(w, 8, nil); strings.Count(got, "a") != 6 {
		t.Errorf("weight 3: %s", got)
	}
	w.Push(item{ID: "b", Weight: 3})
	if got := turns(w, 8, nil); strings.Count(got, "a") != 4 {
		t.Errorf("both 3: %s", got)
	}

	f := push(schedule.Fair.New(), item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1})
	cost := map[string]int{"a": 1, "b": 1}
	turns(f, 20, cost)
	f.Push(item{ID: "a", Weight: 3})
	if got := turns(f, 8, cost); strings.Count(got, "a") != 6 {
		t.Errorf("fair, weight 3: %s", got)
	}
}

// A lane that was away has no claim to the turns that it did not take.
func TestSleeperHasNoCredit(t *testing.T) {
	t.Parallel()
	cost := map[string]int{"a": 1, "b": 1, "sleeper": 1}
	for _, kind := range []schedule.Kind{schedule.Weighted, schedule.Fair} {
		for name, leave := range map[string]func(schedule.Strategy){
			"removed": func(s schedule.Strategy) { s.Remove("sleeper") },
			"served":  func(s schedule.Strategy) { turnsUntil(s, "sleeper") },
			"unknown": func(s schedule.Strategy) { s.Forget("sleeper") },
		} {
			s := push(kind.New(), item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1}, item{ID: "sleeper", Weight: 1})
			turns(s, 30, cost)
			leave(s)
			turns(s, 3000, cost)
			s.Push(item{ID: "sleeper", Weight: 1})
			got := turns(s, 30, cost)
			if n := strings.Count(got, "sleeper"); n < 9 || n > 11 {
				t.Errorf("%v: the sleeper, %s, had %d of 30 turns: %s", kind, name, n, got)
			}
		}
	}
}

// turnsUntil gives turns until that lane had one and leaves it out.
func turnsUntil(s schedule.Strategy, id string) {
	for range 1000 {
		it, _ := s.Pop()
		s.Charge(it.ID, time.Second)
		if it.ID == id {
			return
		}
		s.Push(it)
	}
}

// Being removed and coming back is no way around one's debts.
func TestDebtsStay(t *testing.T) {
	t.Parallel()
	s := push(schedule.Fair.New(), item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1})
	turnsUntil(s, "a")
	s.Charge("a", 9*time.Second)
	s.Push(item{ID: "a", Weight: 1})
	s.Remove("a")
	s.Push(item{ID: "a", Weight: 1})
	if got := turns(s, 11, map[string]int{"a": 1, "b": 1}); got != "b b b b b b b b b b a" {
		t.Errorf("%s", got)
	}
}

// A charge counts also when it comes after the lane was pushed again.
func TestLateCharge(t *testing.T) {
	t.Parallel()
	s := push(schedule.Fair.New(), item{ID: "a", Weight: 1}, item{ID: "b", Weight: 1}, item{ID: "c", Weight: 1})
	for range 3 {
		it, _ := s.Pop()
		s.Push(it)
	}
	s.Charge("a", 5*time.Second)
	s.Charge("b", 2*time.Second)
	s.Charge("c", -time.Hour)
	if got := ids(s.Waiting()); got != "c b a" {
		t.Errorf("%s", got)
	}
}

// Charges beyond all measure end in a tie, not in an overflow.
func TestEndlessCharge(t *testing.T) {
	t.Parallel()
	s := push(schedule.Fair.New(), item{ID: "a", Weight: 0.1}, item{ID: "b", Weight: 0.1})
	for range 10_000 {
		for range 2 {
			it, _ := s.Pop()
			s.Charge(it.ID, math.MaxInt64)
			s.Push(it)
		}
	}
	s.Push(item{ID: "new", Weight: 0.1})
	if got := turns(s, 6, nil); got != "a b new a b new" {
		t.Errorf("%s", got)
	}
	push(s, item{ID: "a", Weight: 10}, item{ID: "newer", Weight: 10}) // must not panic
	turns(s, 6, nil)
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	lanes := []item{{ID: "a", Priority: 1, Weight: 1}, {ID: "b", Priority: 9, Weight: 3}, {ID: "c", Priority: 9, Weight: 0.5}, {ID: "d", Priority: 5, Weight: 2}}
	for _, from := range allKinds() {
		for _, to := range allKinds() {
			old, new := push(from.New(), lanes...), to.New()
			turns(old, 7, map[string]int{"a": 3, "b": 1})
			before := old.Waiting()
			schedule.Transfer(old, new)
			if old.Len() != 0 || new.Len() != len(lanes) {
				t.Errorf("%v to %v: %d left, %d arrived", from, to, old.Len(), new.Len())
			}
			if to == schedule.RoundRobin {
				if diff := cmp.Diff(before, new.Waiting()); diff != "" {
					t.Errorf("%v to %v: (-before +after):\n%s", from, to, diff)
				}
			}
			if to == schedule.Priority {
				if got := ids(new.Waiting()); !strings.HasSuffix(got, " d a") {
					t.Errorf("%v to %v: %s", from, to, got)
				}
			}
		}
	}
}

func TestKindText(t *testing.T) {
	t.Parallel()
	for i, name := range schedule.Names() {
		kind, err := schedule.Parse(name)
		if err != nil || kind.String() != name || kind != allKinds()[i] {
			t.Errorf("%s: %v, %v", name, kind, err)
		}
		data, err := json.Marshal(map[string]schedule.Kind{"kind": kind})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]schedule.Kind
		if err := json.Unmarshal(data, &got); err != nil || got["kind"] != kind {
			t.Errorf("%s: %v, %v", data, got, err)
		}
	}
	const want = `unknown scheduling strategy "lottery": use one of round-robin, priority, weighted, fair`
	if _, err := schedule.Parse("lottery"); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	kept := schedule.Fair
	if err := kept.UnmarshalText([]byte("lottery")); err == nil || kept != schedule.Fair {
		t.Errorf("%v, %v", kept, err)
	}
	if _, err := schedule.Kind(-1).MarshalText(); err == nil {
		t.Error("a kind that is none has a text")
	}
	if got := fmt.Sprint(schedule.Kind(9)); got != "Kind(9)" {
		t.Error(got)
	}
	names := schedule.Names()
	names[0] = "spoiled"
	if schedule.RoundRobin.String() != "round-robin" {
		t.Error("Names hands out what it should keep")
	}
	defer func() {
		if recover() == nil {
			t.Error("a kind that is none makes a strategy")
		}
	}()
	schedule.Kind(9).New()
}
