package procworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// Defaults of [Worker] and [Stop].
const (
	DefaultReadyTimeout = 10 * time.Second
	DefaultGrace        = 10 * time.Second
)

// MaxMalformed is how many malformed lines one generation may send; with the
// last of them it is stopped with a [*ProtocolError].
const MaxMalformed = 10

// A Worker describes a child process and runs it. The zero value with a
// Command works. Set the fields before the first Serve; do not change them
// afterwards, and do not copy the Worker. All methods may be called from any
// goroutine at any time.
type Worker struct {
	// Name names the worker in errors. Default: the base of Command[0].
	Name string
	// Command is the program and its arguments. A program without a slash is
	// looked up in this process's PATH; a relative one with a slash is
	// relative to Dir.
	Command []string
	// Dir is the working directory. Default: this process's.
	Dir string
	// Env is the environment as "key=value", where the last of equal keys
	// counts. Default (nil): this process's. Empty and not nil: a fresh one.
	Env []string
	// ExtraEnv is appended to Env.
	ExtraEnv []string

	// Stdin is the child's standard input. Default: the null device.
	Stdin *os.File
	// Stdout and Stderr take the child's output. Default: the null device. An
	// *os.File is handed to the child itself. For any other writer a pipe is
	// drained all the time. What a slow writer has not taken yet is kept up to
	// 1 MiB; then the child waits for it, but never for one that hangs: of a
	// writer that takes nothing for 2 s, or returns an error, output is dropped
	// and counted ([Snapshot.DroppedOutput]), in whole lines as long as these
	// are shorter than 64 KiB, until it goes on. If both are the same writer
	// they share one pipe, and it has one caller at a time. Calls of Write have
	// ended when Serve returns, except for one that takes longer than 5 s after
	// the end.
	Stdout, Stderr io.Writer

	// IPC gives the child a channel on descriptor 3, which the variables
	// [ipc.EnvFD] and [ipc.EnvNodeFD] name.
	IPC bool
	// OnMessage is called with each message of the child, in order and one at
	// a time. It must return, or Serve does not. All messages that a child
	// sent before its death are delivered before Serve returns.
	OnMessage func(generation uint64, m ipc.Message)
	// OnMalformed is called in OnMessage's place for a line that is not a
	// message.
	OnMalformed func(generation uint64, err *ipc.MalformedError)

	// Ready says what makes the child ready. Default: [ReadyAuto].
	Ready ReadyMode
	// ReadyPattern is for [ReadyLine]. It is tried on each line of Stdout and
	// Stderr, without its end and up to 64 KiB, as it goes to the writer; an
	// *os.File goes to the child itself, so what is written there is not seen.
	ReadyPattern *regexp.Regexp
	// ReadyAddress is for [ReadyPort]: "host:port", as for [net.Dial]. As no
	// system tells when a port is opened, it is tried until the child is
	// ready, at first after 5 ms and later every 250 ms. Who answers is not
	// known: it may be a program that was there before.
	ReadyAddress string
	// ReadyTimeout bounds the time from the start until the child is ready;
	// when it is exceeded the child is stopped, and Serve returns a
	// [*ReadyTimeoutError]. Default: 10 s. Negative: no bound.
	ReadyTimeout time.Duration
	// Notify gives the child a socket for the datagrams of sd_notify(3), which
	// the variable NOTIFY_SOCKET names. READY=1 is for [ReadyNotify], STATUS=
	// for [Snapshot].Status, STOPPING=1 for its State, WATCHDOG=1 is a sign of
	// life (WATCHDOG_USEC tells HeartbeatTimeout), and BARRIER=1 is answered.
	// The rest is ignored, and so is, on Linux, what does not come from the
	// child's tree.
	Notify bool
	// HeartbeatTimeout bounds the time between two signs of life of a ready
	// child: messages of whatever type, or WATCHDOG=1; when it is exceeded, and
	// none comes within as long again but a second at most, the child is
	// stopped, and Serve returns a [*HeartbeatError]. Default: no bound.
	// Without IPC and Notify it has no meaning.
	HeartbeatTimeout time.Duration

	// Limits bound what the child may use. Default: no more than this process.
	// If it cannot be done, Serve returns a [*SpawnError] with a
	// [*LimitsError].
	Limits Limits
	// Credential is the user that the child runs as. Default: this process's.
	Credential *Credential
	// Cgroups is where each child gets a cgroup of its own, which is killed and
	// removed at its end. Default (nil): none.
	Cgroups *Cgroups

	// DeathSignal is what the child gets, on Linux, when this process dies.
	// Default: SIGKILL. It may come more than once, because the kernel sends it
	// whenever a thread ends that it takes for the parent. A child that stops
	// what it has started itself when it sees the end of its channel takes
	// SIGTERM, or it could not.
	DeathSignal syscall.Signal

	// Stop says how the child is stopped. Change it later with SetStop.
	Stop Stop

	weak bool // nothing but the child itself is killed, on Linux; for tests

	malformed atomic.Uint64
	unknown   atomic.Uint64
	lost      losses

	// mu guards all below. It is never held while something blocks.
	mu      sync.Mutex
	snap    Snapshot
	current *generation // what Serve runs now, or nil
	newStop *Stop       // from SetStop
}

// Serve starts the child and returns when it has ended and nothing is left of
// it that this system lets us find (see the package comment):
//
//   - nil: it exited with code 0, by itself.
//   - [*ExitError]: it ended by itself in any other way, or before it was ready.
//   - ctx's error: it was stopped, or not started, because ctx is done.
//   - [*SpawnError]: it could not be started.
//   - [*ReadyTimeoutError], [*HeartbeatError], [*ProtocolError],
//     [*ChannelError], [*FatalError]: it was stopped for that reason.
//   - [*PanicError]: it was stopped because a function of this Worker's fields,
//     or ServeReady's, panicked.
//   - [ErrServing]: another Serve of this Worker has not returned yet.
func (w *Worker) Serve(ctx context.Context) error {
	return w.ServeReady(ctx, nil)
}

// ServeReady is Serve, and calls ready, if that is not nil, once when the child
// is ready. It is what a supervisor that gates on readiness uses.
func (w *Worker) ServeReady(ctx context.Context, ready func()) error {
	if ready == nil {
		ready = func() {}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g, err := w.begin()
	if err != nil {
		return err
	}
	defer w.end(g)
	if err := g.spawn(ctx); err != nil {
		if !errors.Is(err, ctx.Err()) {
			w.record(&Exit{Code: -1, At: time.Now(), Err: err.Error()})
		}
		return err
	}
	return g.run(ctx, ready)
}

// Send sends b to the running child, as [ipc.Conn.Send] does. Before the
// child is ready, and when none is running, the error is [ErrNotReady].
func (w *Worker) Send(ctx context.Context, b ipc.Body) error {
	return w.send(ctx, 0, b)
}

// SendTo is Send to that generation only: if another one, or none, is running
// by now, the error is [ErrStaleGeneration].
func (w *Worker) SendTo(ctx context.Context, generation uint64, b ipc.Body) error {
	if generation == 0 {
		return ErrStaleGeneration
	}
	return w.send(ctx, generation, b)
}

func (w *Worker) send(ctx context.Context, generation uint64, b ipc.Body) error {
	w.mu.Lock()
	g := w.current
	ready := g != nil && g.isReady
	w.mu.Unlock()
	var err error
	switch {
	case generation != 0 && (g == nil || g.number != generation):
		err = ErrStaleGeneration
	case !ready:
		err = ErrNotReady
	case g.conn == nil:
		err = errNoIPC
	default:
		err = g.conn.Send(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("worker %q: %w", w.String(), err)
	}
	return nil
}

// Signal sends sig to the child itself, not to its group. If none is running
// the error is [os.ErrProcessDone].
func (w *Worker) Signal(sig os.Signal) error {
	p := w.process()
	if p == nil {
		return os.ErrProcessDone
	}
	return p.signal(sig)
}

// Kill kills the whole tree of the running child with SIGKILL, and cuts every
// wait of a stop in progress short. What Serve returns does not change: ctx's
// error for a stop, otherwise an [*ExitError]. It is also remembered for a
// child that is just being started, and does nothing if there is none.
func (w *Worker) Kill() {
	w.mu.Lock()
	g := w.current
	w.mu.Unlock()
	if g != nil {
		g.kill()
	}
}

// KillGeneration is Kill of that generation only. It reports whether that is the
// one that runs.
func (w *Worker) KillGeneration(generation uint64) bool {
	w.mu.Lock()
	g := w.current
	w.mu.Unlock()
	if g == nil || g.number != generation {
		return false
	}
	g.kill()
	return true
}

// SetStop replaces Stop. A stop in progress takes it up with its next step.
func (w *Worker) SetStop(s Stop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newStop = &s
}

// String returns the worker's name.
func (w *Worker) String() string {
	switch {
	case w.Name != "":
		return w.Name
	case len(w.Command) > 0:
		return filepath.Base(w.Command[0])
	}
	return "worker"
}

// begin opens the next generation.
func (w *Worker) begin() (*generation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		return nil, fmt.Errorf("worker %q: %w", w.String(), ErrServing)
	}
	w.snap.Generation++
	w.snap.Metrics, w.snap.Status = nil, ""
	w.setState(StateStarting)
	w.current = newGeneration(w, w.snap.Generation)
	return w.current, nil
}

// end closes it.
func (w *Worker) end(g *generation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = nil
	w.snap.PID = 0
	w.setState(StateStopped)
}

func (w *Worker) process() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return nil
	}
	return w.current.proc
}

func (w *Worker) stop() Stop {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.newStop != nil {
		return *w.newStop
	}
	return w.Stop
}
