// Package runs keeps the queue of runs that wait, the ones that execute, and
// the history of the ones that ended.
//
// # The life of a run
//
//	          Enqueue              Claim               Finish
//	(nothing) -------> queued ---------------> running --------> succeeded
//	                     |                        |              failed
//	                     | Finish                 |              timed-out
//	                     v                        +------------> cancelled
//	                 cancelled                                   interrupted
//	                                                             preempted
//
// A run is one execution. What is tried again, after a failure or because it
// was cut short, is a new run with the same Origin and the next Attempt, which
// [Store.Finish] queues in the same step that ends the old one.
//
// # On disk
//
// A [DB] keeps them in one file. Changes gather in memory until [Store.Commit]
// puts all of them on disk in one transaction: a caller commits before it tells
// anybody, and what happens at the same time shares the cost. What cannot be
// written was never accepted, except for the end of a run, which is a fact: it
// stays in memory and is written by the next Commit that succeeds.
package runs

import (
	"errors"
	"fmt"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
)

// State is the state of a run.
type State string

// The states. The first two are on the way, the others are final.
const (
	Queued      State = "queued"
	Running     State = "running"
	Succeeded   State = "succeeded"
	Failed      State = "failed"
	TimedOut    State = "timed-out"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted"
	Preempted   State = "preempted"
)

// Final reports whether a run in this state is over.
func (s State) Final() bool { return s != Queued && s != Running }

// Reason tells why a run was queued.
type Reason string

// The reasons.
const (
	Schedule     Reason = "schedule"    // its interval was over, or it was just added or enabled
	Manual       Reason = "manual"      // somebody asked
	Retry        Reason = "retry"       // the attempt before it failed
	Interruption Reason = "interrupted" // the attempt before it was cut short
	Preemption   Reason = "preempted"   // it made way for others that waited
)

// A Run is one execution of a project's command.
type Run struct {
	ID      string `json:"id"`      // sorts by the time of queueing
	Project string `json:"project"` // the project's id
	Origin  string `json:"origin"`  // the id of the first attempt; its own for a first attempt
	Attempt int    `json:"attempt"` // 1 is the first
	// Failures counts the attempts of this origin that failed before it.
	// Interruptions are attempts, but no failures.
	Failures int    `json:"failures,omitempty"`
	Reason   Reason `json:"reason"`
	ByHand   bool   `json:"byHand,omitempty"` // somebody asked for it, or for the run that it goes on with
	State    State  `json:"state"`
	// Args follow the project's command, for this run and what is tried again
	// of it.
	Args []string `json:"args,omitempty"`

	QueuedAt   time.Time `json:"queuedAt"`
	NotBefore  time.Time `json:"notBefore,omitzero"` // what is tried again waits until then
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`

	Worker *int `json:"worker,omitempty"` // the number of the worker that took it
	PID    int  `json:"pid,omitempty"`    // of the command

	Exit
}

// A LogRange is where in a log something was written.
type LogRange struct {
	From logs.Position  `json:"from"`
	To   *logs.Position `json:"to,omitempty"` // nil: it goes on, or its writer died
}

// Exit is how a run ended, what it used, and what it wrote.
type Exit struct {
	ExitCode    *int   `json:"exitCode,omitempty"`
	Signal      string `json:"signal,omitempty"` // such as "SIGKILL"
	Error       string `json:"error,omitempty"`  // why it could not start, or who stopped it
	UserMS      int64  `json:"userMs,omitempty"`
	SystemMS    int64  `json:"systemMs,omitempty"`
	MaxRSSBytes int64  `json:"maxRssBytes,omitempty"`
	LostLines   int64  `json:"lostLines,omitempty"` // of output, that its log could not take
	// Log is where the output is in the project's log, from the start of the
	// command on. Nil: the worker did not say.
	Log *LogRange `json:"log,omitempty"`
}

// Until is what somebody who waits for a run waits for.
type Until string

// What there is to wait for.
const (
	UntilStarted Until = "started" // its command runs, or it has ended
	UntilEnded   Until = "ended"   // it has ended
	UntilOver    Until = "over"    // it has ended, and no other run takes it up again
)

// A Request asks for a run to be queued.
type Request struct {
	Project   string
	Reason    Reason
	NotBefore time.Time // the zero time: at once
	Origin    string    // empty: this is a first attempt
	Attempt   int       // 0 counts as 1
	Failures  int
	ByHand    bool     // somebody asked for what it goes on with; a Manual one is by hand anyway
	Args      []string // appended to the project's command
}

// A Filter selects runs. Its zero value selects all of them.
type Filter struct {
	Project string // empty: of every project
	State   State  // empty: in every state
	Limit   int    // the newest so many; 0: all
}

// A Store keeps runs. The methods that change something are called by one
// goroutine at a time, the others by any.
type Store interface {
	// Enqueue queues a run. While nothing can be written it refuses with a
	// [*WriteError], and so do Expedite and Claim.
	Enqueue(Request) (Run, error)
	// Expedite makes a queued run one that somebody asked for, and lets it start
	// at once if it had to wait for its NotBefore.
	Expedite(id string) (Run, error)
	// Claim gives a queued run to a worker: from now on it is running.
	Claim(id string, worker int) (Run, error)
	// Started notes the process of a running run's command and, unless that is
	// nil, where its output begins. These are hints for people, and alone no
	// reason to write: the next Commit takes them along.
	Started(id string, pid int, log *LogRange) (Run, error)
	// Finish ends a queued or running run in a final state and, in the same
	// step, queues what comes next, if anything does. An exit without Log leaves
	// what Started has noted.
	Finish(id string, state State, exit Exit, next *Request) (ended Run, queued *Run, err error)
	// Commit puts the changes since the last one on disk, all or none. After an
	// error, a [*WriteError], everything that was enqueued, expedited or
	// claimed since is as it was before; ends of runs, and what Finish queued,
	// are not taken back: they wait in memory for the next Commit.
	Commit() error

	// Get returns one run.
	Get(id string) (Run, error)
	// List returns the runs that the filter selects, the newest first.
	List(Filter) []Run
	// Unfinished returns every run that is queued or running, the oldest
	// first.
	Unfinished() []Run
	// Last returns the run of a project that ended last, also when the history
	// no longer has it.
	Last(project string) (Run, bool)
}

// A WriteError says that runs cannot be put on disk at the moment.
type WriteError struct{ Err error }

func (e *WriteError) Error() string {
	return fmt.Sprintf("runs cannot be put on disk, so no new one is accepted: %v", e.Err)
}

// Unwrap returns what the system says.
func (e *WriteError) Unwrap() error { return e.Err }

var (
	// ErrNotFound says that no run has this id.
	ErrNotFound = errors.New("no such run")
	// ErrTransition says that a run cannot go from its state to the one that
	// was asked for.
	ErrTransition = errors.New("impossible change of state")
)
