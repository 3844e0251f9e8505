package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// EventKind says what happened.
type EventKind int

const (
	EventStarting   EventKind = iota // the service is being started: first in this Serve, or by hand
	EventRestarted                   // the service is being started again, because it or a sibling failed
	EventReady                       // it is ready
	EventExited                      // it ended; Err is what it returned
	EventPanicked                    // it panicked; Err is the *PanicError
	EventBackingOff                  // the next start comes after Delay
	EventGaveUp                      // no further start; Err is the *GaveUpError, or a Supervisor's *IntensityError
	EventEnded                       // no further start, as policy or error wants it
	EventStopping                    // it was told to stop
	EventStopped                     // it has stopped as it was told
	EventAbandoned                   // it has not stopped in its time and may still run
	EventAdded                       // it was added to a Supervisor or a Pool
	EventDeleted                     // it is gone from a Supervisor or a Pool
)

// String gives the kind in lower case, for instance backing-off.
func (k EventKind) String() string {
	switch k {
	case EventStarting:
		return "starting"
	case EventRestarted:
		return "restarted"
	case EventReady:
		return "ready"
	case EventExited:
		return "exited"
	case EventPanicked:
		return "panicked"
	case EventBackingOff:
		return "backing-off"
	case EventGaveUp:
		return "gave-up"
	case EventEnded:
		return "ended"
	case EventStopping:
		return "stopping"
	case EventStopped:
		return "stopped"
	case EventAbandoned:
		return "abandoned"
	case EventAdded:
		return "added"
	case EventDeleted:
		return "deleted"
	default:
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
}

// An Event tells one change of a service's life, except that it began to wait for
// its turn, or stopped to wait for it. The events of one [Restarter]
// or [Supervisor] come in the order in which its status changed, and a status
// that is read after an event was received is at least as new as the event.
type Event struct {
	Kind       EventKind
	Name       string        // whose event it is
	Path       string        // the supervisors between the subscription and it, as in "pool/inner"
	Time       time.Time     // when it happened
	State      State         // the state that it led to; idle in EventAbandoned of a Tree
	Generation uint64        // the start that it belongs to; of an abandoned run that ends, maybe not the latest
	Err        error         // see EventKind
	Delay      time.Duration // in EventBackingOff
}

// String is one line for a log, without a panic's stack.
func (e Event) String() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + "/")
	}
	fmt.Fprintf(&b, "%s: %s", e.Name, e.Kind)
	if e.Kind == EventBackingOff {
		fmt.Fprintf(&b, " %s", e.Delay)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// A Subscription is a bounded queue of events. Whoever publishes never waits
// for it: an event that finds the queue full is dropped and counted.
type Subscription struct {
	hub     *hub
	events  chan Event
	dropped atomic.Uint64
}

// Events is where the events come out. It is closed by Close, after what is
// already in the queue.
func (s *Subscription) Events() <-chan Event { return s.events }

// Dropped is how many events found the queue full.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	if s.hub.detach(s) {
		close(s.events)
	}
}

// deliver is called by the hub, under its lock; so never after detach.
func (s *Subscription) deliver(e *Event) {
	select {
	case s.events <- *e:
	default:
		s.dropped.Add(1)
	}
}

// A sink takes events without waiting. It does not keep the pointer, which is
// there only so that no frame holds a copy.
type sink interface{ deliver(*Event) }

// A hub hands events on to its sinks: subscriptions, and the hub of the tree
// above.
type hub struct {
	// mu guards sinks. It is taken while the mu of a Restarter, of a Supervisor
	// or of a hub further down is held, and nothing but a hub further up is
	// locked under it.
	mu    sync.Mutex
	sinks []sink
	count atomic.Int32 // of sinks
}

// idle reports whether nobody listens, without taking mu.
func (h *hub) idle() bool { return h.count.Load() == 0 }

func (h *hub) deliver(e *Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sinks {
		s.deliver(e)
	}
}

// upward is the way from the hub of an inner supervisor to that around it.
type upward struct {
	hub  *hub
	name string // of the inner one
}

func (u upward) deliver(e *Event) {
	if u.hub.idle() {
		return
	}
	path := e.Path
	if path == "" {
		e.Path = u.name
	} else {
		e.Path = u.name + "/" + path
	}
	u.hub.deliver(e)
	e.Path = path
}

// attach adds s, once.
func (h *hub) attach(s sink) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.sinks, s) {
		return
	}
	h.sinks = append(h.sinks, s)
	h.count.Add(1)
}

// detach reports whether s was attached.
func (h *hub) detach(s sink) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.sinks, s)
	if i < 0 {
		return false
	}
	h.sinks = slices.Delete(h.sinks, i, i+1)
	h.count.Add(-1)
	return true
}

// subscribe attaches a queue of n events, 1 to 1<<20.
func (h *hub) subscribe(n int) *Subscription {
	s := &Subscription{hub: h, events: make(chan Event, min(max(n, 1), 1<<20))}
	h.attach(s)
	return s
}
