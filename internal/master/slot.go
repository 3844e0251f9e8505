package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/logs"
	"github.com/poppobuilder/poppobuilder/procworker"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/supervisor"
)

// A slot is one worker of the pool.
type slot struct {
	n         int
	pool      *pool
	worker    *procworker.Worker
	restarter *supervisor.Restarter
	log       *logs.Writer
	program   program
	base      uint64 // the last generation that this number had in an earlier slot

	// Guarded by pool.mu.
	leaving  bool        // on its way out
	removing bool        // being removed
	patience *time.Timer // ends a leaving worker that does not become idle; may be nil
	outdated bool        // to be replaced when it is idle
	settled  bool        // the first start is over
	failure  error       // why it never became ready; nil: it did

	events *supervisor.Subscription
	outbox chan letter
	closed chan struct{}
	below  sync.WaitGroup // the goroutines that serve it
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
		base:    p.used[n],
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
		OnMalformed:      s.malformed,
		HeartbeatTimeout: s.program.heartbeatTimeout,
		Cgroups:          p.o.cgroups,
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
	s.below.Go(s.deliver)
	s.below.Go(s.report)
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
	s.pool.mu.Lock()
	s.worker.ReadyTimeout = s.pool.settings.program.readyTimeout
	s.pool.mu.Unlock()
	err := s.worker.ServeReady(ctx, func() {
		s.pool.dispatch.WorkerReady(s.n, s.generation())
		s.settle(nil)
		ready()
	})
	if s.pool.builtin() {
		procworker.KillOrphans() // our own worker is a subreaper
	}
	s.pool.dispatch.WorkerGone(s.n, s.generation())
	s.settle(err)
	return err
}

// generation numbers the processes that have had the slot's number, in whatever
// slot: a wish that concerns one of them never reaches another.
func (s *slot) generation() uint64 { return s.base + s.worker.Snapshot().Generation }

// settle notes how the first start went. A worker that ends before it is ready
// always has an error.
func (s *slot) settle(failure error) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if !s.settled {
		s.settled, s.failure = true, failure
		s.pool.changed()
	}
}

// malformed logs a line that is not a message.
func (s *slot) malformed(_ uint64, err *ipc.MalformedError) {
	s.pool.o.log.Error("worker sent a line that is not a message", "worker", s.n, "error", err)
}

// receive takes a message of the worker.
func (s *slot) receive(generation uint64, m ipc.Message) {
	generation += s.base
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
			s.pool.runLogs.end(s.n, body.Run, body.LostLines)
			s.pool.dispatch.RunFinished(s.n, generation, body)
		}
	case ipc.Metrics{}.MessageType():
		var body ipc.Metrics
		if err = m.Decode(&body); err == nil && body.Run != "" {
			s.pool.runLogs.update(s.n, body.Run, int64(body.Metrics[ipc.LostLines]))
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
			err := s.worker.SendTo(ctx, l.generation-s.base, l.message)
			cancel()
			if err != nil && !errors.Is(err, procworker.ErrStaleGeneration) && !s.stopping() {
				s.pool.Replace(s.n, l.generation, fmt.Sprintf("send %s: %v", l.message.MessageType(), err))
			}
		case <-s.closed:
			return
		}
	}
}

// stopping reports whether the worker is being stopped: then it need not read.
func (s *slot) stopping() bool {
	s.pool.mu.Lock()
	removing := s.removing
	s.pool.mu.Unlock()
	return removing || s.worker.Snapshot().State == procworker.StateStopping
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
	if s.patience != nil {
		s.patience.Stop()
	}
	close(s.closed)
	s.events.Close()
	s.below.Wait()
	for _, w := range []io.Writer{s.worker.Stdout, s.worker.Stderr} {
		w.(io.Closer).Close()
	}
	s.log.Close()
}

// losses counts what the slot has lost.
func (s *slot) losses() losses {
	w := s.worker.Snapshot()
	return losses{
		events:      s.events.Dropped(),
		outputBytes: w.DroppedOutput,
		malformed:   w.Malformed,
		unknown:     w.Unknown,
	}
}
