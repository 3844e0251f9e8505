package schedule_test

import (
	"strings"

	"github.com/poppobuilder/poppobuilder/schedule"
)

// push makes lanes ready.
func push(s schedule.Strategy, items ...schedule.Item) schedule.Strategy {
	for _, item := range items {
		s.Push(item)
	}
	return s
}

// turns gives n turns to lanes that always want another one, each of which
// costs what cost says, and returns who had them: "a b a".
func turns(s schedule.Strategy, n int, cost map[string]int) string {
	served := make([]string, 0, n)
	for range n {
		item, ok := s.Pop()
		if !ok {
			break
		}
		served = append(served, item.ID)
		s.Charge(item.ID, seconds(cost[item.ID]))
		s.Push(item)
	}
	return strings.Join(served, " ")
}

// drain pops until nothing is ready.
func drain(s schedule.Strategy) []schedule.Item {
	items := []schedule.Item{}
	for {
		item, ok := s.Pop()
		if !ok {
			return items
		}
		items = append(items, item)
	}
}

func ids(items []schedule.Item) string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = item.ID
	}
	return strings.Join(names, " ")
}

func allKinds() []schedule.Kind {
	return []schedule.Kind{schedule.RoundRobin, schedule.Priority, schedule.Weighted, schedule.Fair}
}
