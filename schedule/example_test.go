package schedule_test

import (
	"fmt"
	"time"

	"github.com/poppobuilder/poppobuilder/schedule"
)

func Example() {
	lanes := schedule.Weighted.New()
	lanes.Push(schedule.Item{ID: "web", Weight: 3})
	lanes.Push(schedule.Item{ID: "docs", Weight: 1})
	for range 8 {
		lane, _ := lanes.Pop()
		fmt.Print(lane.ID, " ")
		lanes.Push(lane)
	}
	// Output: web web docs web web web docs web
}

func ExampleParse() {
	kind, err := schedule.Parse("fair")
	fmt.Println(kind, err)
	_, err = schedule.Parse("random")
	fmt.Println(err)
	// Output:
	// fair <nil>
	// unknown scheduling strategy "random": use one of round-robin, priority, weighted, fair
}

// Time instead of turns: the nightly build takes an hour, a lint run 20 minutes.
func ExampleStrategy_charge() {
	cost := map[string]time.Duration{"nightly": time.Hour, "lint": 20 * time.Minute}
	lanes := schedule.Fair.New()
	lanes.Push(schedule.Item{ID: "nightly"})
	lanes.Push(schedule.Item{ID: "lint"})
	for range 8 {
		lane, _ := lanes.Pop()
		fmt.Print(lane.ID, " ")
		lanes.Charge(lane.ID, cost[lane.ID])
		lanes.Push(lane)
	}
	// Output: nightly lint lint lint nightly lint lint lint
}

// How long can the least important lane wait?
func ExampleNewPriority_starvation() {
	lanes := schedule.NewPriority(3) // a level for three turns
	lanes.Push(schedule.Item{ID: "chores", Priority: 90})
	lanes.Push(schedule.Item{ID: "urgent", Priority: 100})
	for turn := range 1000 {
		lane, _ := lanes.Pop()
		if lane.ID == "chores" {
			fmt.Println("chores waited for", turn, "turns")
			break
		}
		lanes.Push(lane)
	}
	// Output: chores waited for 30 turns
}

func ExampleTransfer() {
	old := schedule.Priority.New()
	old.Push(schedule.Item{ID: "docs", Priority: 10})
	old.Push(schedule.Item{ID: "web", Priority: 90})
	old.Push(schedule.Item{ID: "api", Priority: 50})

	lanes := schedule.RoundRobin.New()
	schedule.Transfer(old, lanes)
	fmt.Println(old.Len(), lanes.Len())
	for _, lane := range lanes.Waiting() {
		fmt.Print(lane.ID, " ")
	}
	// Output:
	// 0 3
	// web api docs
}
