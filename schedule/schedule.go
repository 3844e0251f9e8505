// Package schedule chooses which ready item goes next.
//
//	lanes := schedule.Weighted.New()
//	lanes.Push(schedule.Item{ID: "web", Weight: 3})
//	lanes.Push(schedule.Item{ID: "docs", Weight: 1})
//	for {
//		lane, ok := lanes.Pop()
//		if !ok {
//			break
//		}
//		serve(lane.ID)
//		lanes.Push(lane) // if it wants another turn: web web docs web, ...
//	}
//
// A lane is whatever shares something with others: a project, a tenant, a
// connection. It is pushed when it could use a turn and popped when it gets
// one. A [Strategy] is that set of ready lanes with a policy. It has no clock,
// no goroutine and no randomness: the same calls give the same turns.
//
// # Which one
//
//   - [RoundRobin], the zero [Kind]: all lanes are equal. Whoever has waited
//     longest goes. Take it unless you know why not: it is the one that nobody
//     has to explain.
//   - [Priority]: some lanes matter more, and the others may wait. The highest
//     priority goes, equal ones in turn. What waits rises slowly, so that
//     nothing starves; [NewPriority] has the bound. Take it when there is room
//     for all most of the time, and what matters is who goes first when there
//     is not. With more work than room, the least important get next to nothing.
//   - [Weighted]: each lane gets turns in proportion to its weight, evenly
//     spread: with 3 to 1, a a b a. Take it when turns cost about the same, or
//     when the number of turns is what you promised.
//   - [Fair]: each lane gets time in proportion to its weight, as told by
//     [Strategy.Charge]. Take it when turns are of very different length: a lane
//     of one-hour turns gets one while one of minutes gets sixty.
//
// # What is promised
//
// Round-robin: with n lanes, nobody waits for more than n-1 turns of others.
// Priority: see [NewPriority]. Both hold however lanes come, go and are
// forgotten.
//
// Weighted: while the same lanes stay ready from the beginning, no lane is ever
// a whole turn ahead of or behind its share, and so after each full cycle (the
// weights 3 and 1 make one of 4 turns) each lane has had exactly its share.
// While others come and go, two lanes that stay do not drift apart: what they
// have had since both have had a turn, over their weights, differs by at most
// three turns of the lighter one. (The share of a whole is not defined then.)
//
// Fair: the times that two lanes have used while both were ready, each divided
// by its weight, differ by no more than their longest turns so divided, one of
// each, whoever comes and goes; while the same lanes stay from the beginning, by
// the longer of the two. Before anything is charged, a turn counts as a
// millisecond, so that lanes whose turns take no time at all take turns.
//
// In both, a lane that was away while others had turns comes back level with
// them: it has no claim to what it did not use. What it had in advance it still
// has. A new lane starts level. Therefore nobody starves as long as lanes keep
// their names; an endless row of new ones, each of which takes one turn and is
// forgotten, could hold those back that have had something in advance.
//
// Push, Pop, Peek, Remove, Charge and Forget take O(1) time for round-robin and
// O(log n) for the others (amortized, for weighted), n being the number of ready
// lanes, and allocate nothing for lanes that are known. Lanes are known until
// [Strategy.Forget].
//
// # Sources
//
// Weighted is EEVDF (Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline
// First", 1995, also Linux's scheduler since 6.6) with turns of equal size, in
// exact arithmetic. It has the evenness of nginx's smooth weighted round robin
// (commit 52327e0627f4, 2012) in logarithmic instead of linear time, and, other
// than that and other than stride scheduling (Waldspurger and Weihl, 1995), it
// bounds the error of every lane at one turn, as worst-case fair weighted fair
// queueing does (WF2Q: Bennett and Zhang, 1996). Fair is start-time fair queueing
// (SFQ: Goyal, Vin and Cheng, 1996), which, unlike WFQ, need not know what a turn
// costs before it is over. Aging that keeps the order of what waits, and so
// needs no updates, is earliest deadline first (Liu and Layland, 1973).
package schedule

import "time"

// The range of [Item.Priority]; what lies outside it is moved to its end.
const (
	MinPriority = 0
	MaxPriority = 100
)

// The range of [Item.Weight]; what lies outside it is moved to its end.
const (
	MinWeight = 0.1
	MaxWeight = 10
)

// An Item is a lane that is ready for one turn.
type Item struct {
	// ID names the lane. A lane is ready at most once.
	ID string

	// Priority is 0..100, higher first. Only priority looks at it.
	Priority int

	// Weight is 0.1..10, in steps of a thousandth; 0, a negative number and
	// NaN count as 1. Only weighted and fair look at it.
	Weight float64
}

// A Strategy is the set of lanes that are ready, and the rule that says which
// one goes next. It is made by [Kind.New] or [NewPriority] and is not safe for
// concurrent use: give it to one owner, or guard it with a mutex.
//
// A strategy remembers a lane from its first Push until Forget, so that a lane
// keeps its standing between turns and takes no allocation in steady state.
type Strategy interface {
	// Push makes a lane ready. If it is ready already, its priority and its
	// weight are updated and it keeps its place.
	Push(Item)

	// Pop returns the item that goes next and takes it out of the ready set;
	// false if nothing is ready.
	Pop() (Item, bool)

	// Peek returns the item that Pop would return, and leaves it there.
	Peek() (Item, bool)

	// Remove takes a lane out of the ready set without giving it a turn. It
	// reports whether the lane was ready.
	Remove(id string) bool

	// Charge tells what a turn of the lane has cost, best before the lane is
	// pushed again, but any time will do. A negative cost, and a lane that is
	// not known, are ignored. Only fair looks at it.
	Charge(id string, cost time.Duration)

	// Forget takes a lane out of the ready set and drops what is remembered
	// of it. A lane of the same name starts anew.
	Forget(id string)

	// Len returns the number of ready lanes.
	Len() int

	// Waiting returns the ready items in the order in which Pop would return
	// them if nothing else happened. It allocates; it is meant for a status.
	Waiting() []Item
}

// Transfer moves every ready item of from to to, in the order in which from
// would have served them; from is empty afterwards. It is how a running
// program changes its strategy: nothing is lost, nothing is doubled, and among
// items that to ranks alike the order stays. What from remembers of lanes,
// such as the run time that fair has charged, is not carried over: in to, every
// lane starts level.
func Transfer(from, to Strategy) {
	for {
		item, ok := from.Pop()
		if !ok {
			return
		}
		to.Push(item)
	}
}
