// Package dispatch decides what runs next: it watches which projects are due
// or were asked for, lets the strategy choose among them, and gives the chosen
// run to the worker that has been idle the longest.
//
// A [Dispatcher] is one owner loop. What happens outside, a worker that became
// ready, a run that finished, a command of the operator, is a function that
// the loop executes; nobody else touches its state. What the loop wants to
// tell a worker it hands to a [Pool], which never blocks it. After each round
// it publishes a [Snapshot].
//
// All changes of a round are one commit of the store, so that ends, claims and
// new runs share it, and nobody hears of them before it. The loop waits for
// the disk; who looks at the snapshot does not.
//
// # When a project runs
//
// A project with an interval is due that long after its last run ended, and at
// once when it was just added or enabled. One with a cron expression is due at
// its times; a time is served by the first run that starts at or after it, so
// that those that pass while a run waits or executes, while the project is
// paused or while no daemon runs lead to one run, not to many. Outside of its
// active hours a project starts only what somebody asked for, and what goes on
// with that. A run that failed is tried again after a delay
// that doubles from attempt to attempt; one that was cut short, because its
// worker or the daemon died or was stopped, is tried again without counting as
// a failure, unless its project says that it is not to be. One that made way for
// others because its time slice was over goes on as the same attempt. A project
// never has two runs at once. A restart of the daemon changes none of this.
package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poppobuilder/poppobuilder/internal/project"
	"github.com/poppobuilder/poppobuilder/internal/runs"
	"github.com/poppobuilder/poppobuilder/procworker/ipc"
	"github.com/poppobuilder/poppobuilder/schedule"
)

// Grace is how long a run's command that was asked to stop, because of a
// timeout or a cancellation, has until it is killed.
const Grace = 10 * time.Second

// slack is what a worker gets on top of the times that it was told, before
// the dispatcher takes matters into its own hands.
const slack = 5 * time.Second

// A Pool carries the dispatcher's wishes to the workers. Its methods return at
// once. A wish that concerns a generation that is gone is dropped: the
// dispatcher hears of the end of every generation by [Dispatcher.WorkerGone].
type Pool interface {
	// Send puts a message in the queue of one generation of a worker.
	Send(worker int, generation uint64, message ipc.Body)
	// Replace kills that generation, because it does not obey.
	Replace(worker int, generation uint64, why string)
}

// Settings are what a reload can change.
type Settings struct {
	Strategy      schedule.Kind
	Interval      time.Duration // between a project's runs, unless it says otherwise
	RunTimeout    time.Duration // 0: none
	TimeSlice     time.Duration // 0: none
	Command       []string      // of projects that have none; may be empty
	RetryAttempts int
	RetryDelay    time.Duration // before the first retry; it doubles from there
	LogLimits     ipc.LogLimits
}

// Options are what a [Dispatcher] is made of. All but WallClock are required.
type Options struct {
	Store    runs.Store
	Pool     Pool
	Log      *slog.Logger
	LogPath  func(project string) string // where a project's output goes
	Settings Settings
	// WallClock tells the time of day; nil: the system's does.
	WallClock func() time.Time
}

// A Dispatcher is a service: it works while it is served.
type Dispatcher struct {
	store   runs.Store
	pool    Pool
	log     *slog.Logger
	logPath func(project string) string
	wall    func() time.Time // without a monotonic reading

	inbox  chan func() // executed by the loop, in order
	closed chan struct{}
	close  sync.Once

	published atomic.Pointer[Snapshot]

	// What follows belongs to the loop.
	settings Settings
	strategy schedule.Strategy
	lanes    map[string]*lane
	workers  map[int]*worker
	leaving  map[int]bool // numbers of the workers that get no more runs, until they are removed
	idle     []int        // numbers of the idle workers, the one that waits longest first
	draining bool
	recalled bool                // what an earlier daemon has left was taken over
	looking  *time.Timer         // fires when lanes have to look at the wall clock; nil: none has
	lookAt   time.Time           // what it was set for
	awaited  map[string][]waiter // who waits for a run, by its id

	// Of this round, or until the store can write.
	claimed  []*lane       // whose run is for a worker that does not know it yet
	accepted []*acceptance // runs that somebody asked for
	notices  []func()      // to be sent when what they tell of is on disk
	answers  []func()      // to be sent at the end of the round
	stalled  bool          // the store cannot write
	retry    *time.Timer   // has it try again; nil: not set

	lostLines int64 // of output of runs
}

// A worker is what the dispatcher knows of a member of the pool that is ready.
type worker struct {
	generation uint64
	lane       *lane  // whose run it has; nil: idle
	leaving    bool   // gets no more runs
	onIdle     func() // to be called when it has nothing; may be nil
}

// retired calls onIdle, once.
func (w *worker) retired() {
	if f := w.onIdle; f != nil {
		w.onIdle = nil
		f()
	}
}

// New returns a dispatcher that knows no project and no worker yet.
func New(o Options) *Dispatcher {
	d := &Dispatcher{
		store:    o.Store,
		pool:     o.Pool,
		log:      o.Log,
		logPath:  o.LogPath,
		inbox:    make(chan func(), 64),
		closed:   make(chan struct{}),
		settings: o.Settings,
		strategy: o.Settings.Strategy.New(),
		lanes:    make(map[string]*lane),
		workers:  make(map[int]*worker),
		leaving:  make(map[int]bool),
		awaited:  make(map[string][]waiter),
	}
	if d.wall = o.WallClock; d.wall == nil {
		d.wall = func() time.Time { return time.Now().Round(0) }
	}
	d.publish()
	return d
}

// String returns "dispatch".
func (*Dispatcher) String() string { return "dispatch" }

// Serve runs the loop until ctx ends. It may be served again.
func (d *Dispatcher) Serve(ctx context.Context) error {
	for {
		select {
		case f := <-d.inbox:
			f()
			d.drainInbox()
			for again := true; again; {
				d.assign()
				again = d.commit()
			}
			d.share()
			d.watchClock()
			d.publish()
			d.answer()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer sends the answers of this round. What they are about is visible in the
// snapshot by now.
func (d *Dispatcher) answer() {
	for _, f := range d.answers {
		f()
	}
	d.answers = d.answers[:0]
}

// drainInbox executes what else has arrived, so that a burst costs one round.
func (d *Dispatcher) drainInbox() {
	for range cap(d.inbox) {
		select {
		case f := <-d.inbox:
			f()
		default:
			return
		}
	}
}

// Close releases everybody who waits for the loop, for ever: call it when the
// dispatcher will not be served again.
func (d *Dispatcher) Close() {
	d.close.Do(func() { close(d.closed) })
}

// post hands f to the loop. It waits while the inbox is full.
func (d *Dispatcher) post(f func()) {
	select {
	case d.inbox <- f:
	case <-d.closed:
	}
}

// ask has the loop execute f and waits for its answer.
func ask[T any](ctx context.Context, d *Dispatcher, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	var none T
	select {
	case d.inbox <- func() {
		v, err := f()
		d.answers = append(d.answers, func() { answers <- answer{v, err} })
	}:
	case <-d.closed:
		return none, ErrStopping
	case <-ctx.Done():
		return none, ctx.Err()
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-d.closed:
		return none, ErrStopping
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// call is [ask] without an answer.
func (d *Dispatcher) call(ctx context.Context, f func()) error {
	_, err := ask(ctx, d, func() (struct{}, error) { f(); return struct{}{}, nil })
	return err
}

// Alive asks the loop for a sign of life.
func (d *Dispatcher) Alive(ctx context.Context) error {
	return d.call(ctx, func() {})
}

// Configure changes the settings. What waits keeps waiting, under the new
// strategy; a run that executes keeps what it was started with.
func (d *Dispatcher) Configure(ctx context.Context, s Settings) error {
	return d.call(ctx, func() {
		if s.Strategy != d.settings.Strategy {
			next := s.Strategy.New()
			schedule.Transfer(d.strategy, next)
			d.strategy = next
		}
		d.settings = s
		for _, l := range d.inOrder() {
			if l.active != nil {
				d.setSlice(l)
			}
			d.settle(l)
		}
	})
}

// SetProjects tells which projects there are from now on.
func (d *Dispatcher) SetProjects(ctx context.Context, projects []project.Project) error {
	return d.call(ctx, func() { d.setProjects(projects) })
}

// Drain lets no new run start, for good. Runs that are cut short from now on
// are queued again, for the next start.
func (d *Dispatcher) Drain(ctx context.Context) error {
	return d.call(ctx, func() {
		d.draining = true
		for _, l := range d.inOrder() {
			d.settle(l)
		}
	})
}

// assign gives runs to idle workers while there are both.
func (d *Dispatcher) assign() {
	for len(d.idle) > 0 && !d.draining && !d.stalled {
		item, ok := d.strategy.Pop()
		if !ok {
			return
		}
		l := d.lanes[item.ID]
		l.waiting = false
		i, _ := l.ready(time.Now(), d.wall())
		if i < 0 { // its hours ended a moment ago
			d.settle(l)
			continue
		}
		n := d.idle[0]
		d.idle = d.idle[1:]
		d.start(l, i, n)
	}
}

// start gives a queued run of the lane to an idle worker.
func (d *Dispatcher) start(l *lane, i, n int) {
	w := d.workers[n]
	run, err := d.store.Claim(l.queue[i].ID, n)
	if err != nil {
		d.log.Error("claim run", "project", l.project.ID, "run", l.queue[i].ID, "error", err)
		d.idle = append(d.idle, n)
		d.wakeAt(l, time.Now().Add(slack))
		return
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	w.lane = l
	l.active = &active{run: run, worker: n, generation: w.generation}
	d.claimed = append(d.claimed, l)
	d.settle(l)
}

// hand gives a worker the run that was claimed for it.
func (d *Dispatcher) hand(l *lane) {
	a, run := l.active, l.active.run
	a.started = time.Now()
	a.slice.since = a.started
	l.served = d.wall()
	d.setSlice(l)
	spec := d.spec(l, run)
	d.pool.Send(a.worker, a.generation, ipc.Run{Run: spec})
	d.log.Info("run started", "project", run.Project, "run", run.ID, "attempt", run.Attempt, "reason", run.Reason, "worker", a.worker)
	if spec.TimeoutMS > 0 {
		// The worker keeps the time itself. This is for one that does not.
		d.stopAfter(l, time.Duration(spec.TimeoutMS)*time.Millisecond+slack/2, "timeout")
	}
}
