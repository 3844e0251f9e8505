package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/dispatch"
	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// killGrace is what a worker gets after the polite ways of stopping it, and
// before KILL.
const killGrace = 500 * time.Millisecond

// poolSettings are what a reload can change of the pool.
type poolSettings struct {
	size            int
	program         program
	backoff         supervisor.Backoff
	intensity       supervisor.Intensity
	shutdownTimeout time.Duration
	limits          logs.Limits
}

// A program is what the workers of a pool execute. A worker whose program is
// no longer the pool's is replaced as soon as it is idle.
type program struct {
	command          []string
	builtin          bool // our own worker, which stops its run when the master is gone
	readyTimeout     time.Duration
	heartbeatTimeout time.Duration
}

func (p program) equal(q program) bool {
	return slices.Equal(p.command, q.command) &&
		p.readyTimeout == q.readyTimeout && p.heartbeatTimeout == q.heartbeatTimeout
}

// poolOptions are what a pool is made of.
type poolOptions struct {
	env      []string // of a worker, to which its number is added
	dir      string   // in which workers start
	logPath  func(n int) string
	log      *slog.Logger
	settings poolSettings
}

// A pool holds the workers, each in a slot: a supervised process with a number
// that it keeps across restarts. Its size may change while it is served. The
// number of a worker that is on its way out is not used again before it is
// gone, so that there are never two processes with one number.
type pool struct {
	o        poolOptions
	tree     *supervisor.Tree
	dispatch *dispatch.Dispatcher // set before the pool is served

	firsts   chan error     // the outcome of each first worker's first start
	removals sync.WaitGroup // slots on their way out

	mu       sync.Mutex // guards what follows; the tree's lock may be taken under it
	settings poolSettings
	slots    map[int]*slot
	closing  bool   // no slot comes or goes any more
	lost     uint64 // lines and events that slots now gone had dropped
}

func newPool(o poolOptions) *pool {
	p := &pool{
		o:        o,
		tree:     supervisor.NewTree("workers", supervisor.TreeOptions{StopTimeout: -1}),
		firsts:   make(chan error, o.settings.size),
		settings: o.settings,
		slots:    make(map[int]*slot),
	}
	return p
}

func (*pool) String() string { return "pool" }

// Serve runs the workers until ctx ends and all of them are gone.
func (p *pool) Serve(ctx context.Context) error {
	p.mu.Lock()
	for n := range p.settings.size {
		p.add(n).first = p.firsts
	}
	p.mu.Unlock()
	err := p.tree.Serve(ctx)
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.removals.Wait()
	for _, s := range p.members() {
		s.close()
	}
	return err
}

// apply changes the settings: the workers that stay do not notice.
func (p *pool) apply(s poolSettings) {
	p.mu.Lock()
	p.settings = s
	for _, slot := range p.slots {
		slot.restarter.SetBackoff(s.backoff)
		slot.restarter.SetIntensity(s.intensity)
		slot.worker.SetStop(stop(s.shutdownTimeout))
		slot.log.SetLimits(s.limits)
	}
	tell := p.reconcile()
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// reconcile adds and removes slots until they are what the settings say. The
// caller holds mu, and calls what comes back without it: the dispatcher, which
// that talks to, takes mu itself.
func (p *pool) reconcile() (tell []func()) {
	if p.closing {
		return nil
	}
	for n, s := range p.slots {
		switch {
		case s.leaving:
		case n >= p.settings.size:
			s.leaving = true
			tell = append(tell, func() { p.dispatch.WorkerLeaving(n) })
			p.removals.Go(func() { p.remove(s) })
		case !s.program.equal(p.settings.program) && !s.outdated:
			s.outdated = true
			tell = append(tell, func() { p.dispatch.Retire(n, func() { p.replace(s) }) })
		}
	}
	for n := range p.settings.size {
		if p.slots[n] == nil {
			p.add(n)
		}
	}
	return tell
}

// add puts a new worker in slot n. The caller holds mu.
func (p *pool) add(n int) *slot {
	s := newSlot(p, n)
	p.slots[n] = s
	s.token = p.tree.Add(s.restarter)
	return s
}

// remove stops the worker of a slot, and frees its number when it is gone.
func (p *pool) remove(s *slot) {
	if err := p.tree.Remove(context.Background(), s.token); err != nil {
		p.o.log.Error("remove worker", "worker", s.n, "error", err)
	}
	s.close()
	p.mu.Lock()
	p.lost += s.dropped()
	delete(p.slots, s.n)
	tell := p.reconcile()
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// replace removes a worker that is outdated and idle; its slot is then filled
// again.
func (p *pool) replace(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || s.leaving {
		return
	}
	s.leaving = true
	p.removals.Go(func() { p.remove(s) })
}

// kill stops every worker at once, with everything that it runs.
func (p *pool) kill() {
	for _, s := range p.members() {
		s.worker.Kill()
	}
}

// restart replaces the process of one worker.
func (p *pool) restart(n int) error {
	p.mu.Lock()
	s := p.slots[n]
	p.mu.Unlock()
	if s == nil || s.leaving {
		return fmt.Errorf("worker %d: %w", n, errNoWorker)
	}
	if s.restarter.Status().State == supervisor.StateBackoff {
		s.restarter.RestartNow()
		return nil
	}
	return s.worker.Signal(terminate)
}

var errNoWorker = errors.New("no such worker")

// dropped counts what was lost by slots that are gone.
func (p *pool) dropped() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// members returns the slots, by number.
func (p *pool) members() []*slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	members := make([]*slot, 0, len(p.slots))
	for _, s := range p.slots {
		members = append(members, s)
	}
	slices.SortFunc(members, func(a, b *slot) int { return a.n - b.n })
	return members
}

// Send queues a message for one generation of a worker.
func (p *pool) Send(n int, generation uint64, message ipc.Body) {
	p.mu.Lock()
	s := p.slots[n]
	p.mu.Unlock()
	if s != nil {
		s.send(generation, message)
	}
}

// Replace kills one generation of a worker, which is then started anew.
func (p *pool) Replace(n int, generation uint64, why string) {
	p.mu.Lock()
	s := p.slots[n]
	p.mu.Unlock()
	if s == nil || s.worker.Snapshot().Generation != generation {
		return
	}
	p.o.log.Error("worker is replaced", "worker", n, "reason", why)
	s.worker.Kill()
}

// A slot is one worker of the pool.
type slot struct {
	n         int
	pool      *pool
	worker    *procworker.Worker
	restarter *supervisor.Restarter
	token     supervisor.Token
	log       *logs.Writer
	program   program
	first     chan<- error // gets the outcome of the first start, if anybody waits for it
	firstOnce sync.Once
	leaving   bool // on its way out; guarded by pool.mu
	outdated  bool // to be replaced when it is idle; guarded by pool.mu

	events  *supervisor.Subscription
	outbox  chan letter
	closed  chan struct{}
	workers sync.WaitGroup // the goroutines below
}

// A letter is a message for one generation of a worker.
type letter struct {
	generation uint64
	message    ipc.Body
}

// outboxSize is far more than the messages that a worker can be owed: a run,
// its cancellation, a reload.
const outboxSize = 16

func newSlot(p *pool, n int) *slot {
	s := &slot{
		n:       n,
		pool:    p,
		program: p.settings.program,
		outbox:  make(chan letter, outboxSize),
		closed:  make(chan struct{}),
	}
	s.log = logs.New(p.o.logPath(n), p.settings.limits)
	s.worker = &procworker.Worker{
		Name:             s.String(),
		Command:          s.program.command,
		Dir:              p.o.dir,
		Env:              append(slices.Clip(p.o.env), "POPPOBUILDER_WORKER_ID="+strconv.Itoa(n)),
		Stdout:           logs.NewLines(s.log, 0),
		Stderr:           logs.NewLines(s.log, 0),
		IPC:              true,
		OnMessage:        s.receive,
		ReadyTimeout:     s.program.readyTimeout,
		HeartbeatTimeout: s.program.heartbeatTimeout,
		Stop:             stop(p.settings.shutdownTimeout),
	}
	if s.program.builtin {
		s.worker.DeathSignal = terminate
	}
	s.restarter = supervisor.NewRestarter(s, supervisor.Options{
		Name:      s.String(),
		Backoff:   p.settings.backoff,
		Intensity: p.settings.intensity,
	})
	s.events = s.restarter.Subscribe(64)
	s.workers.Go(s.deliver)
	s.workers.Go(s.report)
	return s
}

// stop is how workers are stopped: they are told, with what runs, and have the
// timeout for it.
func stop(timeout time.Duration) procworker.Stop {
	return procworker.Stop{
		Message:        ipc.Shutdown{TimeoutMS: timeout.Milliseconds()},
		MessageTimeout: timeout + killGrace,
		Signal:         terminate,
		Grace:          killGrace,
	}
}

func (s *slot) String() string { return "worker-" + strconv.Itoa(s.n) }

// Serve runs one process.
func (s *slot) Serve(ctx context.Context) error { return s.ServeReady(ctx, func() {}) }

// ServeReady runs one process, and keeps the dispatcher informed.
func (s *slot) ServeReady(ctx context.Context, ready func()) error {
	err := s.worker.ServeReady(ctx, func() {
		s.pool.dispatch.WorkerReady(s.n, s.worker.Snapshot().Generation)
		s.reportFirst(nil)
		ready()
	})
	s.pool.dispatch.WorkerGone(s.n, s.worker.Snapshot().Generation)
	if err == nil {
		s.reportFirst(errors.New("it ended before it was ready"))
	} else {
		s.reportFirst(err)
	}
	return err
}

// reportFirst tells how the first start went.
func (s *slot) reportFirst(err error) {
	s.firstOnce.Do(func() {
		if s.first != nil {
			s.first <- err
		}
	})
}

// receive takes a message of the worker.
func (s *slot) receive(generation uint64, m ipc.Message) {
	var err error
	switch m.Type {
	case ipc.Started{}.MessageType():
		var body ipc.Started
		if err = m.Decode(&body); err == nil {
			s.pool.dispatch.RunStarted(s.n, generation, body)
		}
	case ipc.Finished{}.MessageType():
		var body ipc.Finished
		if err = m.Decode(&body); err == nil {
			s.pool.dispatch.RunFinished(s.n, generation, body)
		}
	case ipc.Error{}.MessageType():
		var body ipc.Error
		if err = m.Decode(&body); err == nil {
			s.pool.o.log.Error("worker reports an error", "worker", s.n, "run", body.Run, "fatal", body.Fatal, "error", body.Error)
		}
	}
	if err != nil {
		s.pool.o.log.Error("worker sent a message that does not read", "worker", s.n, "type", m.Type, "error", err)
	}
}

// send puts a message in the outbox. If that is full, the worker has not read
// for a long time: it is replaced.
func (s *slot) send(generation uint64, message ipc.Body) {
	select {
	case s.outbox <- letter{generation, message}:
	default:
		s.pool.Replace(s.n, generation, "it does not read its messages")
	}
}

// deliver carries the outbox to the worker.
func (s *slot) deliver() {
	for {
		select {
		case l := <-s.outbox:
			ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
			err := s.worker.SendTo(ctx, l.generation, l.message)
			cancel()
			if err != nil && !errors.Is(err, procworker.ErrStaleGeneration) {
				s.pool.Replace(s.n, l.generation, fmt.Sprintf("send %s: %v", l.message.MessageType(), err))
			}
		case <-s.closed:
			return
		}
	}
}

// sendTimeout is how long a worker may take to read what is sent to it.
const sendTimeout = 5 * time.Second

// report logs what happens to the worker.
func (s *slot) report() {
	for e := range s.events.Events() {
		attrs := []any{"worker", s.n}
		if e.Err != nil {
			attrs = append(attrs, "error", e.Err)
		}
		switch e.Kind {
		case supervisor.EventReady:
			s.pool.o.log.Info("worker ready", append(attrs, "pid", s.worker.Snapshot().PID)...)
		case supervisor.EventExited:
			if e.State == supervisor.StateStopping {
				s.pool.o.log.Info("worker stopped", "worker", s.n)
				continue
			}
			s.pool.o.log.Warn("worker ended", attrs...)
		case supervisor.EventBackingOff:
			s.pool.o.log.Info("worker will be restarted", "worker", s.n, "in", e.Delay)
		case supervisor.EventPanicked, supervisor.EventGaveUp:
			s.pool.o.log.Error("worker "+e.Kind.String(), attrs...)
		default:
			s.pool.o.log.Debug("worker "+e.Kind.String(), attrs...)
		}
	}
}

// close ends what serves the slot. Its worker has ended.
func (s *slot) close() {
	close(s.closed)
	s.events.Close()
	s.workers.Wait()
	for _, w := range []io.Writer{s.worker.Stdout, s.worker.Stderr} {
		w.(io.Closer).Close()
	}
	s.log.Close()
}

// dropped counts what the slot has lost.
func (s *slot) dropped() uint64 {
	return s.events.Dropped() + uint64(s.log.Stats().DroppedLines)
}
