package procworker

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

var (
	// ErrNotReady is returned, wrapped, by [Worker.Send] when no child is
	// running or when it is not ready yet.
	ErrNotReady = errors.New("not ready; send after it has become ready")
	// ErrStaleGeneration is returned, wrapped, by [Worker.SendTo] when that
	// generation is not the running one.
	ErrStaleGeneration = errors.New("that generation has ended")
	// ErrServing is returned, wrapped, by a second Serve beside a first one.
	ErrServing = errors.New("it is being served already; wait for that to return")

	errNoIPC = errors.New("it has no channel; set IPC")
)

// An ExitError tells that the child ended by itself, and not well.
type ExitError struct {
	Name     string // of the worker
	PID      int
	Code     int            // the exit code; -1 if a signal ended it
	Signal   syscall.Signal // the signal that ended it, or 0
	CoreDump bool
	// BeforeReady: it never became ready. Then Code may be 0.
	BeforeReady bool
	// OOMKilled: the kernel has killed it, or something that it had started,
	// because they had no memory left below [Limits].Memory.
	OOMKilled bool
	// Used by the child itself and by what it has waited for.
	UserTime, SystemTime time.Duration
	MaxRSS               int64 // in bytes
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exited with code %d", e.Code)
	if e.Signal != 0 {
		how = "was killed by " + signalName(e.Signal)
	}
	if e.CoreDump {
		how += " (core dumped)"
	}
	if e.OOMKilled {
		how += " (out of memory, by its limit)"
	}
	if e.BeforeReady {
		how += " before it was ready"
	}
	return fmt.Sprintf("worker %q (pid %d) %s", e.Name, e.PID, how)
}

// A SpawnError tells that the child could not be started.
type SpawnError struct {
	Name    string // of the worker
	Command string // the program
	Err     error
}

func (e *SpawnError) Error() string {
	text := fmt.Sprintf("worker %q: start %q: %v", e.Name, e.Command, e.Err)
	switch {
	case e.Host():
		return text + "; the machine is short of something, try again later"
	case errors.Is(e.Err, syscall.EACCES):
		return text + "; check that it may be executed (chmod +x)"
	}
	return text
}

func (e *SpawnError) Unwrap() error { return e.Err }

// Host reports whether the machine is to blame and not the command: no
// descriptors, processes or memory left (EMFILE, ENFILE, EAGAIN, ENOMEM), or
// a program file that is being written (ETXTBSY). Such a start is worth
// another try, and says nothing about the child.
func (e *SpawnError) Host() bool { return hostTrouble(e.Err) }

// A ReadyTimeoutError tells that the child was stopped because it was not
// ready in time.
type ReadyTimeoutError struct {
	Name    string
	Timeout time.Duration
}

func (e *ReadyTimeoutError) Error() string {
	return fmt.Sprintf("worker %q was not ready within %v", e.Name, e.Timeout)
}

// A HeartbeatError tells that the child was stopped because it had been
// silent for too long.
type HeartbeatError struct {
	Name    string
	Timeout time.Duration
}

func (e *HeartbeatError) Error() string {
	return fmt.Sprintf("worker %q sent nothing for %v", e.Name, e.Timeout)
}

// A ProtocolError tells that the child was stopped because it does not speak
// the protocol.
type ProtocolError struct {
	Name      string
	Malformed int   // how many malformed lines it had sent
	Last      error // the last of them, an *ipc.MalformedError
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("worker %q sent %d malformed lines; the last one: %v", e.Name, e.Malformed, e.Last)
}

func (e *ProtocolError) Unwrap() error { return e.Last }

// A ChannelError tells that the child was stopped because it had closed its
// channel, or that reading from it had failed, and had not exited within
// [Stop.Grace] after that.
type ChannelError struct {
	Name string
	Err  error // io.EOF: it closed the channel
}

func (e *ChannelError) Error() string {
	return fmt.Sprintf("worker %q left its channel and did not exit: %v", e.Name, e.Err)
}

func (e *ChannelError) Unwrap() error { return e.Err }

// A FatalError tells that the child has asked to be replaced, by an "error"
// message with "fatal".
type FatalError struct {
	Name   string
	Reason string // the message's "error"
}

func (e *FatalError) Error() string {
	return fmt.Sprintf("worker %q asked to be replaced: %s", e.Name, e.Reason)
}

// A PanicError tells that the child was stopped because one of the [Worker]'s
// functions, such as OnMessage, has panicked.
type PanicError struct {
	Name  string
	Value any    // what it panicked with
	Stack []byte // of the goroutine that did
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("worker %q: a function for its messages panicked: %v", e.Name, e.Value)
}

// Unwrap returns Value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
