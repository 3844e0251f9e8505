package supervisor

import (
	"fmt"
	"time"
)

// State is where a [Restarter] is in its life:
//
//	        Serve                    ready
//	idle ----------> starting --------------------> ready
//	 ^                ^    |                          |
//	 |        restart |    | ends                ends |
//	 |                |    v                          |
//	 |               backoff <------------------------+
//	 |                                                |
//	 +--- stopping <--- ctx ends, in any state        +--> ended, gave-up
//
// A restart without delay passes through backoff too. From ended and gave-up
// only a new call of Serve leads on.
//
// A child of a [Supervisor] has two states more. It is waiting between idle and
// starting, and between backoff and starting, while it is not its turn: others
// have to stop, or to be ready, before it. It is abandoned after stopping, if it
// still runs when its time is over, and then idle or waiting when it has ended.
// From ended, [Supervisor.Restart] or a sibling's failure can lead on.
type State int8

const (
	StateIdle      State = iota // not served: never was, or was stopped
	StateStarting               // started, not ready yet
	StateReady                  // started and ready
	StateBackoff                // ended, and waiting for the next start
	StateStopping               // told to stop, and not yet ended
	StateEnded                  // ended for good, as its policy or its error wants it
	StateGaveUp                 // ended for good, after too many restarts
	StateWaiting                // to be started, when it is its turn
	StateAbandoned              // told to stop, and still running after its time
)

// String gives the state in lower case: idle, starting, ready, backoff,
// stopping, ended, gave-up, waiting, abandoned.
func (s State) String() string {
	switch s {
	case StateIdle:
		return "idle"
	case StateStarting:
		return "starting"
	case StateReady:
		return "ready"
	case StateBackoff:
		return "backoff"
	case StateStopping:
		return "stopping"
	case StateEnded:
		return "ended"
	case StateGaveUp:
		return "gave-up"
	case StateWaiting:
		return "waiting"
	case StateAbandoned:
		return "abandoned"
	default:
		return fmt.Sprintf("State(%d)", int(s))
	}
}

// Status is what a [Restarter] knows about its service at one moment.
type Status struct {
	Name  string
	State State
	Since time.Time // when State began

	// Generation is the number of the latest start, counted from 1 over the
	// whole life of the Restarter; it is also how many starts there were.
	Generation uint64
	// Restarts is how many of these starts followed an end that nobody asked
	// for. It never goes back.
	Restarts int

	// Trouble is what is known of the runs that ended unasked. Nil if none did.
	Trouble *Trouble
}

// Trouble is what is known of the runs of a service that ended unasked.
type Trouble struct {
	// LastError is what the latest of them returned or panicked with
	// (*PanicError). It stays while the next one runs. Nil if it returned nil.
	LastError error
	LastExit  time.Time // when that was
	// Consecutive is how many ends that led, or would have led, to a restart
	// came in a row: it is 0 again when the service was ready for
	// Backoff.ResetAfter. The host's trouble is not counted.
	Consecutive int
	NextTry     time.Time // when the next start is due, in StateBackoff; zero otherwise
}
