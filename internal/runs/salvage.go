package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A Rescue tells what became of a damaged file.
type Rescue struct {
	Aside    string // where it is kept; empty: nowhere, it was removed
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

// moveAside renames what is damaged, and returns "" if nothing is there.
func moveAside(path string) (aside string, err error) {
	if aside, err = nameAside(path); err != nil {
		return "", err
	}
	if err := os.Rename(path, aside); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	dropAside(path)
	return aside, syncDir(filepath.Dir(path))
}

const (
	asideSuffix = ".damaged-"
	// asideTime makes names that sort by time.
	asideTime = "20060102T150405.000000000Z"
	// mostAside is how many damaged files are kept: the first, because what
	// follows may come of it, and the latest ones.
	mostAside = 3
)

// nameAside finds a name that says what the file is and that nothing has.
func nameAside(path string) (string, error) {
	for {
		name := path + asideSuffix + time.Now().UTC().Format(asideTime)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

// dropAside removes damaged files that are too many, if it can. What is no file
// stays.
func dropAside(path string) {
	entries, _ := os.ReadDir(filepath.Dir(path)) // sorted
	var kept []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+asideSuffix) && e.Type().IsRegular() {
			kept = append(kept, e.Name())
		}
	}
	for i := 1; i <= len(kept)-mostAside; i++ {
		os.Remove(filepath.Join(filepath.Dir(path), kept[i]))
	}
}

// salvageBatch is how many runs one transaction copies.
const salvageBatch = 2000

// salvage copies the runs that can be read in a damaged file.
func (f *file) salvage(from string, queue bool) (salvaged int, err error) {
	if info, err := os.Stat(from); err != nil || !info.Mode().IsRegular() {
		return 0, nil // there is nothing to be read, or nothing that ends
	}
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
