package procworker

import (
	"fmt"
	"time"
)

// A State is where a [Worker] is in its life:
//
//	          Serve            ready             ctx done, trouble
//	stopped ---------> starting -----> ready ---------------------> stopping
//	   ^                  |              |                             |
//	   +------------------+--------------+-----------------------------+
//	            the child has ended, and what was left of it
type State int

const (
	StateStopped  State = iota // nothing is running
	StateStarting              // a child is being started, or is not ready yet
	StateReady                 // it accepts work
	StateStopping              // it is being stopped
)

// String returns "stopped", "starting", "ready" or "stopping".
func (s State) String() string {
	switch s {
	case StateStopped:
		return "stopped"
	case StateStarting:
		return "starting"
	case StateReady:
		return "ready"
	case StateStopping:
		return "stopping"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// MarshalText returns the state's name, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Snapshot tells how a [Worker] is at one moment.
type Snapshot struct {
	Name       string
	State      State
	Since      time.Time // when State was entered; zero before the first Serve
	PID        int       // of the running child; 0 if there is none
	Generation uint64    // of the running or the last child; 0 before the first
	StartedAt  time.Time // when that child was started
	// LastExit is how the last child ended. Nil: none has ended yet.
	LastExit *Exit
	// Status is what this generation has last said in STATUS=, sd_notify(3).
	Status string
	// Metrics are the latest figures that this generation has sent. Do not
	// change the map.
	Metrics map[string]float64
	// Malformed counts the malformed lines of all generations.
	Malformed uint64
	// Unknown counts the messages of all generations whose type is none of
	// package ipc's; OnMessage gets them like all others.
	Unknown uint64
	// DroppedOutput counts the bytes of output, of all generations, that no
	// writer took.
	DroppedOutput uint64
}

// An Exit tells how a child ended.
type Exit struct {
	PID    int    // 0: it could not be started
	Code   int    // its exit code; -1 if a signal ended it, or if it was not started
	Signal string // the signal that ended it, such as "SIGKILL"
	At     time.Time
	// OOMKilled: memory ran out, see [ExitError].
	OOMKilled bool
	// Err is the text of what Serve returned. Empty: nil.
	Err string
	// Used by the child itself and by what it has waited for.
	UserTime, SystemTime time.Duration
	MaxRSS               int64 // in bytes
}

// Snapshot returns how the worker is now. It never blocks.
func (w *Worker) Snapshot() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snap
	s.Name = w.String()
	s.Malformed = w.malformed.Load()
	s.Unknown = w.unknown.Load()
	s.DroppedOutput = w.lost.bytes.Load()
	if s.LastExit != nil {
		exit := *s.LastExit
		s.LastExit = &exit
	}
	return s
}

// setState enters a state. The caller holds w.mu.
func (w *Worker) setState(s State) {
	w.snap.State = s
	w.snap.Since = time.Now()
}

func (w *Worker) record(exit *Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snap.LastExit = exit
}

// becomeReady marks g as ready. It comes before the message is handed on, so
// that an answer to "ready" can be sent at once.
func (w *Worker) becomeReady(g *generation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.isReady {
		return
	}
	g.isReady = true
	close(g.ready)
	if w.snap.State == StateStarting {
		w.setState(StateReady)
	}
}

func (w *Worker) ready(g *generation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return g.isReady
}

func (w *Worker) stopping() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setState(StateStopping)
}

func (w *Worker) setMetrics(m map[string]float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snap.Metrics = m
}

func (w *Worker) setStatus(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snap.Status = text
}

func exitOf(end ending, err error) *Exit {
	exit := &Exit{
		PID: end.pid, Code: end.code, At: time.Now(), OOMKilled: end.oomKilled,
		UserTime: end.user, SystemTime: end.system, MaxRSS: end.maxRSS,
	}
	if end.signal != 0 {
		exit.Signal = signalName(end.signal)
	}
	if err != nil {
		exit.Err = err.Error()
	}
	return exit
}
