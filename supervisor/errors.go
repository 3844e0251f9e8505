package supervisor

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/thejerf/suture/v4"
)

// ErrDoNotRestart ends a service for good, whatever its [Restart] policy: a
// service returns it, wrapped or not, when it must not be started again, and
// [Restarter.Serve] returns an error that wraps it when it has ended for good.
// It is suture's error of that name, so both read each other.
var ErrDoNotRestart = suture.ErrDoNotRestart

// ErrTerminateTree is for a service to return, wrapped or not, when everything
// around it has to stop too. It is suture's ErrTerminateSupervisorTree.
var ErrTerminateTree = suture.ErrTerminateSupervisorTree

// ErrAlreadyServed is wrapped by what Serve returns when it is called while
// another call of it is still running. The second call has no effect.
var ErrAlreadyServed = errors.New("already being served")

// errGoexit is how a run ended that called runtime.Goexit, as t.FailNow does.
var errGoexit = errors.New("service ended its goroutine by runtime.Goexit")

// A GaveUpError says that a [Restarter] stopped trying.
//
// It wraps [ErrDoNotRestart], so that a suture supervisor around the Restarter
// leaves it alone, and Last. Because Last may be a context's error, ask for a
// *GaveUpError before asking for context.Canceled.
type GaveUpError struct {
	Name     string        // the Restarter's name
	Restarts int           // the restarts that were spent on it
	Within   time.Duration // the period they were counted in
	Last     error         // how the service ended the last time, nil if by returning nil
}

func (e *GaveUpError) Error() string {
	last := "it returned without an error"
	if e.Last != nil {
		last = e.Last.Error()
	}
	return fmt.Sprintf("%s gave up after %d restarts within %v: %s", e.Name, e.Restarts, e.Within, last)
}

// Unwrap returns [ErrDoNotRestart] and Last.
func (e *GaveUpError) Unwrap() []error {
	if e.Last == nil {
		return []error{ErrDoNotRestart}
	}
	return []error{ErrDoNotRestart, e.Last}
}

// A PanicError is a panic that was caught. In a service it is a failure under
// every policy, whatever the value.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // the goroutine's stack, in the form of [runtime/debug.Stack]
}

// newPanicError is for the recover of a goroutine that has just panicked.
func newPanicError(value any) *PanicError {
	return &PanicError{Value: value, Stack: debug.Stack()}
}

// Error gives the value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value if it is an error, nil otherwise.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// isPanic reports whether exit is a panic, as opposed to an error.
func isPanic(exit error) bool {
	_, ok := exit.(*PanicError)
	return ok
}

// An endError says that a Serve is over because a child has ended. Its text is
// made when somebody asks for it, and not while a lock is held: what it wraps is
// code of others.
type endError struct {
	name string
	exit error // nil if by returning nil
	also error // wrapped too, nil if exit does that
}

func (e *endError) Error() string {
	switch {
	case e.also == nil:
		return fmt.Sprintf("%s: %v", e.name, e.exit)
	case e.exit == nil:
		return fmt.Sprintf("%s has ended: %v", e.name, e.also)
	default:
		return fmt.Sprintf("%s has ended: %v: %v", e.name, e.exit, e.also)
	}
}

// Unwrap returns those of exit and also that are not nil.
func (e *endError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.exit, e.also} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
