package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	builtin          bool          // our own worker, which stops its run when the master is gone
	readyTimeout     time.Duration // counts from the next start, so a change replaces nobody
	heartbeatTimeout time.Duration
}

func (p program) equal(q program) bool {
	return slices.Equal(p.command, q.command) && p.heartbeatTimeout == q.heartbeatTimeout
}

// poolOptions are what a pool is made of.
type poolOptions struct {
	env      []string // of a worker, to which its number is added
	dir      string   // in which workers start
	logPath  func(n int) string
	log      *slog.Logger
	cgroups  *procworker.Cgroups // nil: none
	settings poolSettings
}

// A pool holds the workers, each in a slot: a supervised process with a number
// that it keeps across restarts. Its size may change while it is served. The
// number of a worker that is on its way out is not used again before it is
// gone, so that there are never two processes with one number.
type pool struct {
	o        poolOptions
	dispatch *dispatch.Dispatcher // set before the pool is served

	news     chan struct{}  // holds a token when the outcome of a first start may have changed
	removals sync.WaitGroup // slots on their way out

	mu       sync.Mutex             // guards what follows; the supervisor's lock may be taken under it
	workers  *supervisor.Supervisor // a new one for each Serve
	settings poolSettings
	slots    map[int]*slot
	used     map[int]uint64 // the last generation of a number, in slots now gone
	open     bool           // slots come and go: it is served, and does not end yet
	lost     losses         // of the slots that are gone

	runLogs lostLogs // has a lock of its own
}

func newPool(o poolOptions) *pool {
	p := &pool{
		o:        o,
		workers:  newWorkers(),
		news:     make(chan struct{}, 1),
		settings: o.settings,
		slots:    make(map[int]*slot),
		used:     make(map[int]uint64),
	}
	return p
}

// newWorkers makes the supervisor of the slots. Each slot restarts its worker by
// itself, so that one which fails delays and ends no other.
func newWorkers() *supervisor.Supervisor {
	workers, err := supervisor.New(supervisor.SupervisorOptions{Name: "workers"})
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return workers
}

func (*pool) String() string { return "pool" }

// Status is that of the supervisor of the workers, for the tree in the log.
func (p *pool) Status() supervisor.SupervisorStatus { return p.supervisor().Status() }

// Abandoned names workers that do not end.
func (p *pool) Abandoned() []string { return p.supervisor().Abandoned() }

func (p *pool) supervisor() *supervisor.Supervisor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers
}

// Serve runs the workers until ctx ends and all of them are gone. It may be
// served again.
func (p *pool) Serve(ctx context.Context) error {
	p.mu.Lock()
	workers := p.workers
	p.open = true
	tell := p.reconcile()
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
	err := workers.Serve(ctx)
	p.mu.Lock()
	p.open = false
	p.mu.Unlock()
	p.removals.Wait()
	for _, s := range p.members() {
		s.close()
		p.forget(s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers = newWorkers()
	return err
}

// forget takes a slot out whose worker is gone.
func (p *pool) forget(s *slot) {
	p.dispatch.WorkerRemoved(s.n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = p.lost.plus(s.losses())
	p.runLogs.gone(s.n, uint64(s.log.Stats().DroppedLines))
	p.used[s.n] = s.generation()
	delete(p.slots, s.n)
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
	if !p.open {
		return nil
	}
	for n, s := range p.slots {
		switch {
		case s.leaving:
		case n >= p.settings.size:
			// Its run may end by itself, for as long as at a stop.
			s.leaving = true
			s.patience = time.AfterFunc(p.settings.shutdownTimeout, func() { p.startRemoval(s) })
			tell = append(tell, func() { p.dispatch.Retire(n, func() { p.startRemoval(s) }) })
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
	p.changed()
	return tell
}

// add puts a new worker in slot n. The caller holds mu.
func (p *pool) add(n int) {
	s := newSlot(p, n)
	p.slots[n] = s
	err := p.workers.Add(context.Background(), supervisor.Spec{
		Name:       s.String(),
		Service:    s.restarter,
		Shutdown:   supervisor.Infinite, // the worker's own stop ends with KILL
		Background: true,                // nobody waits for it, least of all the next one
	})
	if err != nil && !errors.Is(err, supervisor.ErrNotServed) { // about to end
		p.o.log.Error("add worker", "worker", n, "error", err)
	}
}

// changed wakes who waits for the first starts.
func (p *pool) changed() {
	select {
	case p.news <- struct{}{}:
	default: // a token is there already
	}
}

// await waits until each worker was ready once, or failed to become it, or until
// there is no point in it any more. It is an error if all of them failed. What a
// reload changes meanwhile counts.
func (p *pool) await(ctx context.Context, stopping <-chan struct{}) error {
	for {
		settled, err := p.outcome()
		if settled {
			return err
		}
		select {
		case <-p.news:
		case <-stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// outcome reports whether the first start of every worker is over, and if so,
// the error of one if all of them failed.
func (p *pool) outcome() (settled bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	up := false
	for n := range p.settings.size {
		s := p.slots[n]
		if s == nil || s.leaving || !s.settled {
			return false, nil
		}
		up = up || s.failure == nil
		err = cmp.Or(err, s.failure)
	}
	if up {
		err = nil
	}
	return true, err
}

// remove stops the worker of a slot, and frees its number when it is gone.
func (p *pool) remove(s *slot) {
	p.dispatch.WorkerLeaving(s.n)
	workers := p.supervisor()
	err := workers.Terminate(context.Background(), s.String())
	if err = errors.Join(err, workers.Delete(s.String())); err != nil {
		p.o.log.Error("remove worker", "worker", s.n, "error", err)
	}
	s.close()
	p.forget(s)
	p.mu.Lock()
	tell := p.reconcile()
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// replace removes a worker that is outdated and idle, or has given up; its slot
// is then filled again.
func (p *pool) replace(s *slot) {
	p.mu.Lock()
	s.leaving = true
	p.mu.Unlock()
	p.startRemoval(s)
}

// startRemoval begins to remove a slot that is leaving, once, and unless the
// whole pool ends.
func (p *pool) startRemoval(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open || s.removing {
		return
	}
	s.removing = true
	p.removals.Go(func() { p.remove(s) })
}

// builtin reports whether all workers are our own program.
func (p *pool) builtin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if !s.program.builtin {
			return false
		}
	}
	return true
}

// gaveUp reports whether no worker is left that works or will be restarted.
func (p *pool) gaveUp() bool {
	members := p.members()
	for _, s := range members {
		if state := s.restarter.Status().State; state != supervisor.StateGaveUp && state != supervisor.StateEnded {
			return false
		}
	}
	return len(members) > 0
}

// kill stops every worker at once, with everything that it runs. One that is
// started again before the pool ends is not asked politely either.
func (p *pool) kill() {
	for _, s := range p.members() {
		s.worker.SetStop(procworker.Stop{MessageTimeout: -1, Grace: -1})
		s.worker.Kill()
	}
}

// restart replaces the process of one worker.
func (p *pool) restart(n int) error {
	p.mu.Lock()
	s := p.slots[n]
	gone := s == nil || s.leaving
	p.mu.Unlock()
	if gone {
		return fmt.Errorf("worker %d: %w", n, errNoWorker)
	}
	switch s.restarter.Status().State {
	case supervisor.StateBackoff:
		s.restarter.RestartNow()
		return nil
	case supervisor.StateGaveUp, supervisor.StateEnded:
		p.replace(s)
		return nil
	}
	return s.worker.Signal(terminate)
}

var errNoWorker = errors.New("no such worker")

// losses counts what could not be kept.
type losses struct {
	events      uint64 // of workers
	outputBytes uint64 // of what workers print, before it became lines
	malformed   uint64 // lines of workers that were no messages
	unknown     uint64 // messages of workers that nobody knows
}

func (l losses) plus(m losses) losses {
	return losses{l.events + m.events, l.outputBytes + m.outputBytes, l.malformed + m.malformed, l.unknown + m.unknown}
}

// losses adds up what was lost by all slots that ever were.
func (p *pool) losses() losses {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := p.lost
	for _, s := range p.slots {
		total = total.plus(s.losses())
	}
	return total
}

// broadcast queues a message for every worker that runs and stays.
func (p *pool) broadcast(message ipc.Body) {
	for _, s := range p.members() {
		if !p.isLeaving(s) && s.worker.Snapshot().State == procworker.StateReady {
			s.send(s.generation(), message)
		}
	}
}

func (p *pool) isLeaving(s *slot) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.leaving
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
		if run, ok := message.(ipc.Run); ok {
			p.runLogs.begin(n, run.Run)
		}
		s.send(generation, message)
	}
}

// Replace kills one generation of a worker, which is then started anew.
func (p *pool) Replace(n int, generation uint64, why string) {
	p.mu.Lock()
	s := p.slots[n]
	p.mu.Unlock()
	if s != nil && s.worker.KillGeneration(generation-s.base) {
		p.o.log.Error("worker is replaced", "worker", n, "reason", why)
	}
}
