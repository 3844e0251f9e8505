package supervisor

import (
	"errors"
	"fmt"
)

// What administration of a [Supervisor] answers: OTP's error table of
// start_child, restart_child, terminate_child and delete_child. The errors that
// come back wrap these and name the child.
var (
	// ErrAlreadyStarted: Add of a name that is there and runs, or is about to.
	ErrAlreadyStarted = errors.New("already started")
	// ErrAlreadyPresent: Add of a name that is there and does not run. Restart
	// starts it, Delete makes room for another.
	ErrAlreadyPresent = errors.New("already present")
	// ErrNotFound: there is no child of this name.
	ErrNotFound = errors.New("not found")
	// ErrRunning: Restart or Delete of a child that runs. Terminate it first.
	ErrRunning = errors.New("running")
	// ErrRestarting: Delete of a child that is about to be started again, or
	// Restart of one that waits for its siblings. Terminate it first.
	ErrRestarting = errors.New("restarting")
	// ErrNotServed: the supervisor is not being served, or is about to stop.
	ErrNotServed = errors.New("supervisor is not being served")
	// ErrAbandoned: the child was told to stop and still runs, longer than
	// [Spec].Shutdown allows.
	ErrAbandoned = errors.New("abandoned: it did not stop in time and still runs")
	// ErrTerminated: the child was terminated before it was ready.
	ErrTerminated = errors.New("terminated before it was ready")
)

// A SpecError says what is wrong with one child's [Spec], or, with an empty
// Child, with the [SupervisorOptions].
type SpecError struct {
	Supervisor string
	Child      string
	Err        error
}

func (e *SpecError) Error() string {
	if e.Child == "" {
		return fmt.Sprintf("supervisor %q: %v", e.Supervisor, e.Err)
	}
	return fmt.Sprintf("supervisor %q: child %q: %v", e.Supervisor, e.Child, e.Err)
}

// Unwrap returns Err.
func (e *SpecError) Unwrap() error { return e.Err }

// A StartError says that a child ended before it was ready. From Serve it means
// that the children that had been started before it have been stopped again:
// OTP's failed_to_start_child.
type StartError struct {
	Supervisor string
	Child      string
	Err        error // how it ended, nil if by returning nil
}

func (e *StartError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("start %s in %s: it ended before it was ready", e.Child, e.Supervisor)
	}
	return fmt.Sprintf("start %s in %s: %v", e.Child, e.Supervisor, e.Err)
}

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

// An IntensityError says that a [Supervisor] has stopped, because its children
// had to be started again too often. It is for the supervisor above, which may
// start this one again: it does not wrap [ErrDoNotRestart].
type IntensityError struct {
	Supervisor string
	Child      string // whose failure was one too many
	Intensity  Intensity
	// Last are the latest errors of Child, at most five, oldest first. They
	// are wrapped. A nil error stands for an end without one.
	Last []error
}

func (e *IntensityError) Error() string {
	last := "it returned without an error"
	if n := len(e.Last); n > 0 && e.Last[n-1] != nil {
		last = e.Last[n-1].Error()
	}
	return fmt.Sprintf("%s gave up after %d restarts within %v: %s: %s",
		e.Supervisor, max(e.Intensity.MaxRestarts, 0), e.Intensity.Within, e.Child, last)
}

// Unwrap returns the errors in Last that are not nil.
func (e *IntensityError) Unwrap() []error {
	var errs []error
	for _, err := range e.Last {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// keptErrors is how many errors are kept of each child.
const keptErrors = 5
