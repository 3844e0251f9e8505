package supervisor_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A simWitness is what can be seen of a plan that is performed, without the
// model: what the children themselves went through, the events, the status at
// some moments, and what administrators asked for.
type simWitness struct {
	epoch  time.Time
	begins []time.Duration // of the two Serves

	mu     sync.Mutex            // guards what follows, while the plan is performed
	runs   map[string][]*seenRun // by the child's path, in the order of their start
	asks   []seenAsk
	looks  []seenLook
	events []supervisor.Event
	faults []string
}

// A seenRun is one run as the child itself saw it. Ready and told are -1 if that
// did not happen.
type seenRun struct{ start, ready, told, end time.Duration }

type seenAsk struct {
	at time.Duration
	op simOp
}

type seenLook struct {
	at     time.Duration
	status supervisor.SupervisorStatus
}

func (w *simWitness) now() time.Duration { return time.Since(w.epoch) }

func (w *simWitness) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *simWitness) asked(op simOp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks = append(w.asks, seenAsk{w.now(), op})
}

func (w *simWitness) look(st supervisor.SupervisorStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks = append(w.looks, seenLook{w.now(), st})
}

// String gives all events and operations, a line for each.
func (w *simWitness) String() string {
	var b strings.Builder
	asks := w.asks
	for _, e := range w.events {
		at := e.Time.Sub(w.epoch)
		for ; len(asks) > 0 && asks[0].at <= at; asks = asks[1:] {
			fmt.Fprintf(&b, "%v %s %s/%s\n", asks[0].at, asks[0].op.What, asks[0].op.Sup, asks[0].op.Name)
		}
		fmt.Fprintf(&b, "%v %v (%v, generation %d)\n", at, e, e.State, e.Generation)
	}
	return b.String()
}

// seen is an actor whose runs a witness writes down.
type seen struct {
	*actor
	witness *simWitness
}

func (s *seen) ServeReady(ctx context.Context, ready func()) error {
	w := s.witness
	r := &seenRun{start: w.now(), ready: -1, told: -1, end: -1}
	w.mu.Lock()
	w.runs[s.name] = append(w.runs[s.name], r)
	w.mu.Unlock()
	defer context.AfterFunc(ctx, func() { w.note(&r.told) })()
	defer func() { w.over(ctx, r) }()
	return s.actor.ServeReady(ctx, func() {
		w.note(&r.ready)
		ready()
	})
}

func (w *simWitness) note(when *time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*when = w.now()
}

// over notes the end of a run, which may have been faster than the one who notes
// that it was told to.
func (w *simWitness) over(ctx context.Context, r *seenRun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.end = w.now()
	if ctx.Err() != nil && r.told < 0 {
		r.told = r.end
	}
}
