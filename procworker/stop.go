package procworker

import (
	"context"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// Stop says how a child is stopped: by a message, then by a signal, then by
// SIGKILL to its whole tree. The zero value is SIGTERM and 10 s.
type Stop struct {
	// Message is sent first, with SIGCONT to the process group, to a ready
	// child that has a channel, if ctx is why it is stopped. Default: this
	// step is left out.
	Message ipc.Body
	// MessageTimeout is how long the child may take from then on until the
	// signal. Default: 10 s. Negative: none.
	MessageTimeout time.Duration
	// Signal is sent to the process group. Default: SIGTERM.
	Signal syscall.Signal
	// Grace is how long the child may take from the signal until SIGKILL.
	// Default: 10 s. Negative: SIGKILL at once, without the signal.
	Grace time.Duration
}

func (s Stop) signal() syscall.Signal {
	if s.Signal == 0 {
		return syscall.SIGTERM
	}
	return s.Signal
}

func (s Stop) grace() time.Duration { return orDefault(s.Grace, DefaultGrace) }

func orDefault(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return d
}

// stop ends the child, step by step. The settings are read anew at each step,
// for SetStop.
func (g *generation) stop(polite bool) {
	g.w.stopping()
	if polite && g.stopByMessage(g.w.stop()) {
		return
	}
	if g.stopBySignal(g.w.stop()) {
		return
	}
	g.proc.killTree()
	<-g.exited
}

func (g *generation) stopByMessage(s Stop) (ended bool) {
	timeout := orDefault(s.MessageTimeout, DefaultGrace)
	if s.Message == nil || g.conn == nil || timeout < 0 || !g.w.ready(g) {
		return false
	}
	// A stopped process would let the whole time pass.
	g.proc.signalGroup(syscallCONT)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	refused := make(chan error, 1)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if err := g.conn.Send(ctx, s.Message); err != nil {
			refused <- err
		}
	}()
	defer func() { cancel(); <-sent }()
	select {
	case <-g.exited:
		return true
	case <-refused: // it cannot know, so there is nothing to wait for
	case <-g.killed:
	case <-ctx.Done():
	}
	return false
}

func (g *generation) stopBySignal(s Stop) (ended bool) {
	select {
	case <-g.killed:
		return false
	default:
	}
	if s.grace() < 0 {
		return false
	}
	// A stopped process acts on the signal only once it is continued.
	g.proc.signalGroup(s.signal())
	g.proc.signalGroup(syscallCONT)
	timer := time.NewTimer(s.grace())
	defer timer.Stop()
	select {
	case <-g.exited:
		return true
	case <-g.killed:
	case <-timer.C:
	}
	return false
}
