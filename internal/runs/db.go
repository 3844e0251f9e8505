package runs

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Limits bound the history.
type Limits struct {
	MaxRuns int           // how many ended runs are kept, the newest; 0: [DefaultHistory]
	MaxAge  time.Duration // how long after their end; 0: for ever. A clock that jumps forward makes none older.
}

// Options are how a [DB] is opened. The zero value is fine.
type Options struct {
	Limits Limits
	// NoSync leaves it to the system when what is written reaches the disk. For
	// tests that have no use for a disk.
	NoSync bool
	// OnRescue is told of every file that was damaged, or taken away, and has been
	// replaced. It must not call the store. Nil: nobody is told.
	OnRescue func(Rescue)
	// Fault is called by Commit with "write" before the transaction is on disk,
	// when an error is taken for the disk's, and with "written" after it. For
	// tests. Nil: nobody is called.
	Fault func(point string) error

	clock clock // zero: the system's
}

// A DB is a [Store] in a file.
//
// In memory it has the runs that are not over, so few that a change costs
// nothing until it is written, and nothing of the history.
type DB struct {
	path   string
	noSync bool
	fault  func(string) error
	rescue func(Rescue)
	age    horizon // of the history

	mu      sync.Mutex // guards what follows; it is never held while a disk is waited for
	limits  Limits
	ids     idSource
	live    map[string]*entry // the unfinished runs, and those whose end is not on disk yet
	void    map[string]bool   // ids whose records in the queue are to be removed
	due     bool              // there is something that Commit has to write
	file    *file
	closed  bool
	damaged *DamagedError // the file is not to be used any more; nil: it is
	health  Health
	writing time.Time // since when a Commit waits for the disk; zero: none does
}

var _ Store = (*DB)(nil)

// An entry is a run that is on its way.
type entry struct {
	run Run
	// base is what it is again if the changes since the last Commit cannot be
	// written: nil means that there is no such run.
	base  *Run
	disk  *Run // what it is on disk, with the latest hints; nil: nothing
	dirty bool // not on disk as it is
}

// Open opens the store at path. A file that is damaged is set aside, as
// [DB.Health] tells, and what can be read of it is in the new one.
//
// Errors: [*LockedError], [*FormatError], and what the system refuses.
func Open(path string, o Options) (*DB, error) {
	d := &DB{
		path:   path,
		noSync: o.NoSync,
		fault:  o.Fault,
		rescue: o.OnRescue,
		limits: o.Limits.orDefault(),
		live:   make(map[string]*entry),
		void:   make(map[string]bool),
		due:    true, // the limits may have been higher
	}
	if d.rescue == nil {
		d.rescue = func(Rescue) {}
	}
	if d.age.clock = o.clock; o.clock.now == nil {
		d.age.clock = newClock()
	}
	if d.fault == nil {
		d.fault = func(string) error { return nil }
	}
	for _, suffix := range []string{compactSuffix, restoreSuffix} {
		os.Remove(path + suffix) // of what was cut short
	}
	var err error
	d.file, err = openFile(path, d.noSync)
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		var r Rescue
		if d.file, r, err = setAside(damaged, d.noSync, true); err == nil {
			d.health.Rescue = &r
			d.rescue(r)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.file.bolt.Close())
	}
	return d, nil
}

func (l Limits) orDefault() Limits {
	l.MaxRuns = cmp.Or(l.MaxRuns, DefaultHistory)
	return l
}

// load reads the queue.
func (d *DB) load() error {
	return d.file.view(func(tx *bolt.Tx) error {
		var newest time.Time
		if k, v := tx.Bucket(bucketRuns).Cursor().Last(); k != nil {
			run, err := decode(k, v)
			if err != nil {
				return err
			}
			d.ids.resume(run.ID)
			newest = run.FinishedAt
		}
		d.age.start(newest)
		return tx.Bucket(bucketQueue).ForEach(func(k, v []byte) error {
			run, err := decode(k, v)
			if err != nil {
				return err
			}
			d.ids.resume(run.ID)
			d.live[run.ID] = &entry{run: run, base: &run, disk: &run}
			return nil
		})
	})
}

// Close writes what is not written yet and closes the file. A second Close does
// nothing.
func (d *DB) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.due = true // with the hints
	d.mu.Unlock()
	err := d.Commit()
	d.mu.Lock()
	d.closed = true
	f, damaged := d.file, d.damaged
	d.mu.Unlock()
	if damaged != nil {
		f.retire()
		return err
	}
	return errors.Join(err, f.bolt.Close())
}

// SetLimits changes what is kept of the history, from the next Commit on.
func (d *DB) SetLimits(l Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits, d.due = l.orDefault(), true
}

// Enqueue queues a run.
func (d *DB) Enqueue(r Request) (Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.health.Err != nil {
		return Run{}, d.health.Err
	}
	return d.add(r).run, nil
}

// add puts a queued run in the queue. The caller holds mu.
func (d *DB) add(r Request) *entry {
	e := &entry{run: *d.ids.newRun(r, time.Now()), dirty: true}
	d.live[e.run.ID] = e
	d.due = true
	return e
}

// Expedite makes a queued run one by hand that starts at once.
func (d *DB) Expedite(id string) (Run, error) { return d.accept(id, expedite) }

// Claim gives a queued run to a worker.
func (d *DB) Claim(id string, worker int) (Run, error) { return d.accept(id, claim(worker)) }

// accept applies a change that can be refused.
func (d *DB) accept(id string, f change) (Run, error) {
	d.mu.Lock()
	trouble := d.health.Err
	d.mu.Unlock()
	if trouble != nil {
		return Run{}, trouble
	}
	return d.change(id, f, func(*entry) { d.due = true })
}

// change applies f to a run, and then, if that is possible, the rest.
func (d *DB) change(id string, f change, rest func(*entry)) (Run, error) {
	d.mu.Lock()
	e := d.live[id]
	if e == nil {
		d.mu.Unlock()
		run, err := d.Get(id)
		if err == nil {
			err = f(&run, time.Now()) // it has ended, so that is not possible
		}
		return Run{}, err
	}
	defer d.mu.Unlock()
	if err := f(&e.run, time.Now()); err != nil {
		return Run{}, err
	}
	e.dirty = true
	rest(e)
	return e.run, nil
}

// Started notes the process of a running run's command, and its output.
func (d *DB) Started(id string, pid int, log *LogRange) (Run, error) {
	return d.change(id, started(pid, log), func(e *entry) {
		if e.base != nil && e.base.State == Running {
			e.keep()
		}
		if e.disk != nil && e.disk.State == Running {
			e.disk = e.base // a hint, which may be told
		}
	})
}

// Finish ends a run and queues what comes next.
func (d *DB) Finish(id string, state State, exit Exit, next *Request) (ended Run, queued *Run, err error) {
	ended, err = d.change(id, finish(state, exit), func(e *entry) {
		d.due = true
		accepted := e.base != nil
		if accepted {
			e.keep() // its end is never taken back
		}
		if next != nil {
			n := d.add(*next)
			if accepted {
				n.keep()
			}
			queued = new(n.run)
		}
	})
	return ended, queued, err
}

// keep makes the run as it is now what a failure does not take back.
func (e *entry) keep() { e.base = new(e.run) }

// Unfinished returns the runs that are queued or running, the oldest first.
func (d *DB) Unfinished() []Run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending(current, func(run *Run) bool { return !run.State.Final() })
}

// pending returns the runs in memory that keep accepts, the oldest first. The
// caller holds mu.
func (d *DB) pending(view view, keep func(*Run) bool) []Run {
	var kept []Run
	for _, e := range d.live {
		if run := view(e); run != nil && keep(run) {
			kept = append(kept, *run)
		}
	}
	slices.SortFunc(kept, byID)
	return kept
}

func byID(a, b Run) int { return cmp.Compare(a.ID, b.ID) }
