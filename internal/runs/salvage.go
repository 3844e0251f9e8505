package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A Rescue tells what became of a damaged file.
type Rescue struct {
	Aside    string // where it is kept
	Problem  string // what is wrong with it
	Salvaged int    // runs that could be read, and are in the new file
}

// setAside renames a damaged file and opens a new one in its place, with what
// can be read of the old one: the history, and the queue if that is wanted.
func setAside(damaged *DamagedError, noSync, queue bool) (*file, Rescue, error) {
	aside, err := moveAside(damaged.Path)
	if err != nil {
		return nil, Rescue{}, fmt.Errorf("set the damaged file of runs aside: %w", err)
	}
	f, err := openFile(damaged.Path, noSync)
	if err != nil {
		return nil, Rescue{}, err
	}
	r := Rescue{Aside: aside, Problem: damaged.Err.Error()}
	r.Salvaged, err = f.salvage(aside, queue)
	if err != nil {
		// The new file is in order, with less in it than there might be.
		r.Problem += fmt.Sprintf("; and what it has could not all be copied: %v", err)
	}
	return f, r, nil
}

// moveAside renames a file that is damaged.
func moveAside(path string) (aside string, err error) {
	if aside, err = nameAside(path, time.Now()); err != nil {
		return "", err
	}
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return aside, syncDir(filepath.Dir(path))
}

// nameAside finds a name that says what the file is and that nothing has.
func nameAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	name := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}

// salvageBatch is how many runs one transaction copies.
const salvageBatch = 2000

// salvage copies the runs that can be read in a damaged file.
func (f *file) salvage(from string, queue bool) (salvaged int, err error) {
	source, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return 0, err
	}
	var batch []Run
	flush := func() error {
		grown := 0
		err := f.update(func(tx *bolt.Tx) (err error) {
			grown, err = restore(tx, batch)
			return err
		})
		if err == nil {
			f.ended += grown
			salvaged += len(batch)
			batch = batch[:0]
		}
		return err
	}
	var broken error // the new file cannot be written
	c := checker{
		file:    source,
		size:    info.Size(),
		damaged: func(error) error { return broken },
		visit: func(bucket string, key, value []byte) error {
			if bucket != string(bucketRuns) && (!queue || bucket != string(bucketQueue)) {
				return nil
			}
			run, err := decode(key, value)
			if err != nil || run.ID != string(key) || run.State.Final() != (bucket == string(bucketRuns)) {
				return errChecksum
			}
			if batch = append(batch, run); len(batch) == salvageBatch {
				broken = flush()
			}
			return broken
		},
	}
	return salvaged, errors.Join(c.run(), flush())
}

// restore writes salvaged runs.
func restore(tx *bolt.Tx, batch []Run) (grown int, err error) {
	for i := range batch {
		run := &batch[i]
		before, err := lastRun(tx, run.Project)
		hadLast := err == nil
		more, err := putRun(tx, run)
		if err != nil {
			return 0, err
		}
		if more {
			grown++
		}
		if hadLast && run.State.Final() && before.FinishedAt.After(run.FinishedAt) {
			if err := putLast(tx, &before); err != nil {
				return 0, err
			}
		}
	}
	return grown, nil
}
