package runs

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Commit puts what has changed on disk, in one transaction.
func (d *DB) Commit() error {
	d.mu.Lock()
	switch {
	case d.closed:
		d.mu.Unlock()
		return &WriteError{Err: fs.ErrClosed}
	case !d.due:
		d.mu.Unlock()
		return nil
	}
	batch, void, limits, f, damaged := d.batch(), d.void, d.limits, d.file, d.damaged
	d.due, d.writing = false, time.Now()
	d.mu.Unlock()

	var err error
	if damaged != nil {
		if f, err = d.replace(damaged); err == nil {
			d.mu.Lock()
			batch = d.batch() // all of it: the new file has none
			d.mu.Unlock()
		}
	}
	more := false // of the history is to be removed
	if err == nil {
		more, err = d.write(f, batch, void, limits)
	}
	if again, ok := errors.AsType[*DamagedError](err); ok && damaged == nil {
		d.condemn(again)
		return d.Commit()
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	d.writing = time.Time{}
	if err != nil {
		d.due = true
		d.takeBack()
		if d.health.Err == nil {
			d.health.Since = time.Now()
		}
		d.health.Err = &WriteError{Err: err}
		return d.health.Err
	}
	d.due = d.due || more // the limits may have changed meanwhile
	d.void = make(map[string]bool)
	d.health.Err, d.health.Since = nil, time.Time{}
	for id, e := range d.live {
		switch {
		case !e.dirty:
		case e.run.State.Final():
			delete(d.live, id)
		default:
			e.keep()
			e.disk, e.dirty = e.base, false
		}
	}
	return nil
}

// batch returns the runs that are not on disk as they are. Runs that ended come
// in the order of their ends. The caller holds mu.
func (d *DB) batch() []Run {
	var batch []Run
	for _, e := range d.live {
		if e.dirty {
			batch = append(batch, e.run)
		}
	}
	slices.SortFunc(batch, func(a, b Run) int { return cmp.Or(a.FinishedAt.Compare(b.FinishedAt), byID(a, b)) })
	return batch
}

// write is the transaction. It reports whether the history is still too long.
func (d *DB) write(f *file, batch []Run, void map[string]bool, l Limits) (more bool, err error) {
	if err := f.inPlace(); err != nil {
		return false, err
	}
	ended := f.ended
	err = f.update(func(tx *bolt.Tx) error {
		for i := range batch {
			grown, err := putRun(tx, &batch[i])
			if err != nil {
				return err
			}
			if grown {
				ended++
			}
		}
		for id := range void {
			shrunk, err := erase(tx, id)
			if err != nil {
				return err
			}
			if shrunk {
				ended--
			}
		}
		pruned, err := prune(tx, ended, l, d.age.now())
		if err != nil {
			return err
		}
		ended -= pruned
		more = pruned == pruneBatch
		return d.fault("write")
	})
	if err != nil {
		return false, err
	}
	f.ended = ended
	f.touch(4 * (len(batch) + 1))
	return more, cmp.Or(f.inPlace(), d.fault("written"))
}

// takeBack undoes what could not be written and was not to be kept. The caller
// holds mu.
//
// A transaction that failed at its last step may be on disk all the same. So the
// next one writes again how everything is now.
func (d *DB) takeBack() {
	for id, e := range d.live {
		switch {
		case !e.dirty:
		case e.base == nil:
			delete(d.live, id)
			d.void[id] = true
		default:
			e.run = *e.base
		}
	}
}

// condemn notes that the file is damaged: the next Commit replaces it.
func (d *DB) condemn(err *DamagedError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damaged, d.due = err, true
}

// replace puts a new file in the place of one that was damaged, or taken away,
// while it was open. The queue is in memory, so nothing of that is lost.
func (d *DB) replace(damaged *DamagedError) (f *file, err error) {
	old, _ := d.current()
	var r Rescue
	if errors.Is(old.inPlace(), errReplaced) {
		f, r, err = old.restore(d.noSync)
	} else {
		f, r, err = setAside(damaged, d.noSync, false)
	}
	if err != nil {
		return nil, err
	}
	d.rescue(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file, d.damaged = f, nil
	d.health.Rescue = &r
	for _, e := range d.live {
		e.dirty = true
	}
	old.retire()
	return f, nil
}

// Get returns one run.
func (d *DB) Get(id string) (Run, error) { return d.get(id, current) }

// List returns the runs that the filter selects, the newest first. Of a file
// that turns out to be damaged it returns what it can read.
func (d *DB) List(f Filter) []Run { return d.list(f, current) }

// A Committed is a store as it would be found if this process died now. Its
// methods are those of the [DB], and may be called while that changes. Once the
// disk has refused something it is what the DB is, because the ends of runs are
// news that cannot wait.
type Committed struct{ d *DB }

// Committed returns what may be told to others.
func (d *DB) Committed() Committed { return Committed{d} }

// Get returns one run.
func (c Committed) Get(id string) (Run, error) { return c.d.get(id, c.d.committed) }

// List returns the runs that the filter selects, the newest first.
func (c Committed) List(f Filter) []Run { return c.d.list(f, c.d.committed) }

// A view tells what an entry looks like; nil: it is not there.
type view func(*entry) *Run

func current(e *entry) *Run { return &e.run }

// committed is the view of what is on disk, with the latest hints. The caller
// holds mu.
func (d *DB) committed(e *entry) *Run {
	if d.health.Err != nil {
		return &e.run
	}
	return e.disk
}

func (d *DB) get(id string, view view) (run Run, err error) {
	d.mu.Lock()
	if e := d.live[id]; e != nil {
		defer d.mu.Unlock()
		if run := view(e); run != nil {
			return *run, nil
		}
		return Run{}, notFound(id)
	}
	void := d.void[id]
	d.mu.Unlock()
	if void {
		return Run{}, notFound(id)
	}
	err = d.read(1, func(tx *bolt.Tx) error {
		key := []byte(id)
		value := tx.Bucket(bucketRuns).Get(key)
		if value == nil {
			return notFound(id)
		}
		run, err = decode(key, value)
		return err
	})
	return run, err
}

func (d *DB) list(f Filter, view view) []Run {
	// In this order: what ends meanwhile is found twice, and not never. Of the
	// two, the one in the file counts.
	d.mu.Lock()
	list := d.pending(view, f.selects)
	void := maps.Clone(d.void)
	d.mu.Unlock()
	var ended []Run
	_ = d.read(cmp.Or(f.Limit, mostTouched), func(tx *bolt.Tx) (err error) {
		ended, err = listRuns(tx, f)
		return err
	})
	list = append(slices.DeleteFunc(ended, func(run Run) bool { return void[run.ID] }), list...)
	slices.SortStableFunc(list, func(a, b Run) int { return byID(b, a) })
	list = slices.CompactFunc(list, func(a, b Run) bool { return a.ID == b.ID })
	return limit(list, f.Limit)
}

// Last returns the run of a project that ended last.
func (d *DB) Last(project string) (run Run, found bool) {
	err := d.read(1, func(tx *bolt.Tx) (err error) {
		run, err = lastRun(tx, project)
		return err
	})
	return run, err == nil
}

// lastRun reads the run of a project that ended last.
func lastRun(tx *bolt.Tx, project string) (Run, error) {
	key := []byte(project)
	value := tx.Bucket(bucketLast).Get(key)
	if value == nil {
		return Run{}, notFound(project)
	}
	return decode(key, value)
}

// read reads the file, unless it is damaged. It uses about so many pages.
func (d *DB) read(pages int, fn func(*bolt.Tx) error) error {
	f, damaged := d.current()
	if damaged != nil {
		return damaged
	}
	err := f.view(fn)
	if errors.Is(err, errRetired) {
		return d.read(pages, fn)
	}
	if err == nil {
		f.touch(pages)
	}
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		d.mu.Lock()
		if d.file == f { // else it has been replaced already
			d.damaged, d.due = damaged, true
		}
		d.mu.Unlock()
	}
	return err
}

func (d *DB) current() (*file, *DamagedError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file, d.damaged
}

// Health is how a store is. Its zero value: all is well.
type Health struct {
	Err    error     // why nothing can be written; nil: it can
	Since  time.Time // since when
	Rescue *Rescue   // the latest file that was set aside, since the store was opened; nil: none was
}

// slowWrite is when waiting for the disk is worth telling.
const slowWrite = time.Second

// Health tells how the store is. It never waits for a disk.
func (d *DB) Health() Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.health
	if h.Err == nil && !d.writing.IsZero() && time.Since(d.writing) > slowWrite {
		h.Err, h.Since = errSlow, d.writing
	}
	return h
}

var errSlow = errors.New("the disk does not answer")

// Full reports whether the disk, or this user's share of it, is full.
func (e *WriteError) Full() bool {
	return errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT)
}
