package procworker

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// A generation is one start of a worker's child, and everything that lives as
// long as that child.
type generation struct {
	w      *Worker
	number uint64

	proc    *process // guarded by w.mu until spawn has returned
	isReady bool     // guarded by w.mu
	conn    *ipc.Conn
	channel *drainFile // what conn reads
	outputs []*output
	watches []*lineWatch  // one for each of outputs; nil, if not for ReadyLine
	notify  *notifySocket // nil: none
	cgroup  *Cgroup       // nil: none

	readiness ReadyMode // never ReadyAuto

	killed   chan struct{} // closed by Kill
	killOnce sync.Once
	exited   chan struct{} // closed when the child is dead, and not reaped yet
	ready    chan struct{} // closed when "ready" has come
	trouble  chan error    // a reason to stop the child, from the reader
	lost     chan error    // what the channel ended with, from the reader
	lostErr  error
	notified chan struct{} // closed when the last notification was heeded
	heard    atomic.Int64  // when the last message came, in ns since started
	started  time.Time
}

func newGeneration(w *Worker, number uint64) *generation {
	return &generation{
		w:       w,
		number:  number,
		killed:  make(chan struct{}),
		exited:  make(chan struct{}),
		ready:   make(chan struct{}),
		trouble: make(chan error, 1),
		lost:    make(chan error, 1),

		notified: make(chan struct{}),
	}
}

// run looks after a started child until it and its tree have ended.
func (g *generation) run(ctx context.Context, ready func()) error {
	go g.waitExit()
	if g.conn != nil {
		go g.receive()
	}
	if g.notify != nil {
		go g.listen()
	}
	stopKnocking := g.startKnocking()
	ready = sync.OnceFunc(ready)
	reason := g.watch(ctx, ready)
	stopKnocking()
	if reason != nil {
		g.stop(errors.Is(reason, ctx.Err()))
	}
	end := g.finish()
	if reason == nil {
		if g.w.ready(g) {
			g.hook(ready) // it may have said so with its last breath
		}
		reason = g.verdict(end)
	}
	g.w.record(exitOf(end, reason))
	return reason
}

func (g *generation) waitExit() {
	defer close(g.exited)
	g.proc.wait()
}

func (g *generation) kill() { g.killOnce.Do(func() { close(g.killed) }) }

// watch returns nil when the child has ended or was killed, and otherwise the
// reason why it is to be stopped.
func (g *generation) watch(ctx context.Context, ready func()) error {
	w := g.w
	if g.readiness == ReadyAtOnce {
		w.becomeReady(g)
	}
	isUp, lost, doubted := g.ready, g.lost, false
	readyTimeout := orDefault(w.ReadyTimeout, DefaultReadyTimeout)
	tooLate, silent, gone := newAlarm(readyTimeout), newAlarm(-1), newAlarm(-1)
	defer func() { tooLate.stop(); silent.stop(); gone.stop() }()
	for {
		select {
		case <-g.exited:
			return nil
		case <-g.killed:
			g.proc.killTree()
			<-g.exited
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-g.trouble:
			return err
		case <-isUp:
			isUp = nil
			tooLate.stop()
			g.hook(ready)
			if w.HeartbeatTimeout > 0 && (g.conn != nil || g.notify != nil) {
				g.touch()
				silent = newAlarm(w.HeartbeatTimeout)
			}
		case <-tooLate.C:
			return &ReadyTimeoutError{Name: w.String(), Timeout: readyTimeout}
		case <-silent.C:
			left := w.HeartbeatTimeout - g.silence()
			if left <= 0 && doubted {
				return &HeartbeatError{Name: w.String(), Timeout: w.HeartbeatTimeout}
			}
			// This process may have been stopped or starved itself: what the
			// child has sent meanwhile gets the chance to be read.
			if doubted = left <= 0; doubted {
				left = min(w.HeartbeatTimeout, maxDoubt)
			}
			silent = newAlarm(left)
		case g.lostErr = <-lost:
			// Nearly always it is just about to exit.
			lost = nil
			gone = newAlarm(max(w.stop().grace(), 0))
		case <-gone.C:
			return &ChannelError{Name: w.String(), Err: g.lostErr}
		}
	}
}

// maxDoubt is how much longer than its heartbeat timeout a child may be silent.
const maxDoubt = time.Second

// An alarm is a timer that may be none.
type alarm struct {
	C <-chan time.Time
	t *time.Timer
}

// newAlarm returns an alarm that goes off after d; never, if d is negative.
func newAlarm(d time.Duration) alarm {
	if d < 0 {
		return alarm{}
	}
	t := time.NewTimer(d)
	return alarm{C: t.C, t: t}
}

func (a *alarm) stop() {
	if a.t != nil {
		a.t.Stop()
	}
	*a = alarm{}
}

func (g *generation) touch() { g.heard.Store(int64(time.Since(g.started))) }
func (g *generation) silence() time.Duration {
	return time.Since(g.started) - time.Duration(g.heard.Load())
}

// receive reads the channel to its end. It is the only caller of the
// worker's message hooks.
func (g *generation) receive() {
	bad := 0
	for {
		m, err := g.conn.Receive()
		var malformed *ipc.MalformedError
		switch {
		case errors.As(err, &malformed):
			bad++
			g.w.malformed.Add(1)
			if g.w.OnMalformed != nil {
				g.hook(func() { g.w.OnMalformed(g.number, malformed) })
			}
			if bad == MaxMalformed {
				g.complain(&ProtocolError{Name: g.w.String(), Malformed: bad, Last: malformed})
			}
		case err != nil:
			g.lost <- err
			close(g.lost)
			return
		default:
			g.touch()
			if !m.Known() {
				g.w.unknown.Add(1)
			}
			g.handle(m)
		}
	}
}

func (g *generation) handle(m ipc.Message) {
	var fatal error
	switch m.Type {
	case "ready":
		if g.readiness == ReadyMessage {
			g.w.becomeReady(g)
		}
	case "metrics":
		var body ipc.Metrics
		if m.Decode(&body) == nil {
			g.w.setMetrics(body.Metrics)
		}
	case "error":
		var body ipc.Error
		if m.Decode(&body) == nil && body.Fatal {
			fatal = &FatalError{Name: g.w.String(), Reason: body.Error}
		}
	}
	if g.w.OnMessage != nil {
		g.hook(func() { g.w.OnMessage(g.number, m) })
	}
	if fatal != nil {
		g.complain(fatal)
	}
}

// hook calls a function of the Worker's user. Its panic must not end this
// process with the child running: it ends the child.
func (g *generation) hook(f func()) {
	defer func() {
		if v := recover(); v != nil {
			g.complain(&PanicError{Name: g.w.String(), Value: v, Stack: debug.Stack()})
		}
	}()
	f()
}

// complain gives the first reason to stop the child; later ones add nothing.
func (g *generation) complain(err error) {
	select {
	case g.trouble <- err:
	default:
	}
}

// finish ends what the dead child has left, and collects what it has said.
func (g *generation) finish() ending {
	end := g.proc.clear()
	if g.conn != nil {
		g.channel.hangUp() // a message hook may be sending
		g.channel.drain()
		for range g.lost { // closed when the last message is delivered
		}
		_ = g.conn.Close()
	}
	for i, o := range g.outputs {
		o.finish(outputWait)
		select {
		case <-o.done:
			if g.watches != nil {
				g.watches[i].match() // a last line without its end
			}
		default: // its writer still writes
		}
	}
	if g.notify != nil {
		g.notify.drain()
		<-g.notified
		g.notify.close()
	}
	return end
}

// verdict tells what the end of a child means that nobody has stopped.
func (g *generation) verdict(end ending) error {
	select {
	case err := <-g.trouble: // said with its last breath
		return err
	default:
	}
	ready := g.w.ready(g)
	if ready && end.code == 0 {
		return nil
	}
	return &ExitError{
		Name: g.w.String(), PID: end.pid, Code: end.code, Signal: end.signal, CoreDump: end.coreDump,
		BeforeReady: !ready, OOMKilled: end.oomKilled, UserTime: end.user, SystemTime: end.system, MaxRSS: end.maxRSS,
	}
}
