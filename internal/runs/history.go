package runs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The file has these buckets. Every value is sealed.
//
//	meta       "format" -> "1"
//	queue      id -> run                      the runs that are queued or running
//	runs       id -> run                      the ones that ended
//	byState    letter id -> ""                their index by state
//	byProject  project 0 letter id -> ""      and by project and state
//	last       project -> run                 the run of each project that ended last
var (
	bucketMeta      = []byte("meta")
	bucketQueue     = []byte("queue")
	bucketRuns      = []byte("runs")
	bucketByState   = []byte("byState")
	bucketByProject = []byte("byProject")
	bucketLast      = []byte("last")

	keyFormat = []byte("format")
)

// format numbers the layout above.
const format = "1"

// The letters of the final states in the indexes.
var letters = map[State]byte{
	Succeeded:   's',
	Failed:      'f',
	TimedOut:    't',
	Cancelled:   'c',
	Interrupted: 'i',
	Preempted:   'p',
}

// createBuckets makes an empty file complete.
func createBuckets(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketQueue, bucketRuns, bucketByState, bucketByProject, bucketLast} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyFormat, seal(keyFormat, []byte(format)))
}

// Keys of the indexes. A project's id has no byte 0.

func keyByState(s State, id string) []byte { return append([]byte{letters[s]}, id...) }

func keyByProject(project string, s State, id string) []byte {
	return slices.Concat([]byte(project), []byte{0, letters[s]}, []byte(id))
}

// appended is the fill of pages whose keys only grow.
const appended = 0.95

// putRun writes a run as it is now. It reports whether the history has grown.
func putRun(tx *bolt.Tx, run *Run) (grown bool, err error) {
	id := []byte(run.ID)
	value, err := encode(id, run)
	if err != nil {
		return false, err
	}
	queue := tx.Bucket(bucketQueue)
	if !run.State.Final() {
		return false, queue.Put(id, value)
	}
	history, byState := tx.Bucket(bucketRuns), tx.Bucket(bucketByState)
	history.FillPercent = appended
	grown = history.Get(id) == nil // else an earlier Commit got further than it knew
	state, of := keyByState(run.State, run.ID), keyByProject(run.Project, run.State, run.ID)
	return grown, errors.Join(
		queue.Delete(id),
		history.Put(id, value),
		byState.Put(state, seal(state, nil)),
		tx.Bucket(bucketByProject).Put(of, seal(of, nil)),
		putLast(tx, run),
	)
}

// putLast notes a run as the last one of its project.
func putLast(tx *bolt.Tx, run *Run) error {
	key := []byte(run.Project)
	value, err := encode(key, run)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketLast).Put(key, value)
}

// pruneBatch bounds what one Commit removes from the history, and so how long
// it takes when the limits have just been lowered.
const pruneBatch = 500

// pruneSpare is how many runs may have waited so long that their ids are among
// the oldest, but their ends are not, without one of them being removed too
// early, and without their keeping others from growing too old.
const pruneSpare = 32

// prune removes the runs of a history of count runs that ended the longest ago,
// if they are beyond the limits. It returns how many it has removed.
func prune(tx *bolt.Tx, count int, l Limits, now time.Time) (int, error) {
	surplus := min(max(0, count-l.MaxRuns), pruneBatch)
	var horizon time.Time // what ended before it is too old
	if l.MaxAge > 0 {
		horizon = now.Add(-l.MaxAge)
	}
	var doomed, others []Run
	c := tx.Bucket(bucketRuns).Cursor()
	for k, v := c.First(); k != nil && len(doomed) < pruneBatch && len(others) < surplus+pruneSpare; k, v = c.Next() {
		if surplus == 0 && !idTime(string(k)).Before(horizon) {
			break // it was queued later than that, and so are all that follow
		}
		run, err := decode(k, v)
		if err != nil {
			return 0, err
		}
		if run.FinishedAt.Before(horizon) {
			doomed = append(doomed, run)
		} else {
			others = append(others, run)
		}
	}
	if left := surplus - len(doomed); left > 0 {
		slices.SortStableFunc(others, func(a, b Run) int { return endOf(a).Compare(endOf(b)) })
		doomed = append(doomed, others[:min(left, len(others))]...)
	}
	for i := range doomed {
		if err := forget(tx, &doomed[i]); err != nil {
			return 0, err
		}
	}
	return len(doomed), nil
}

// endOf is when a run ended, and not before it was queued: the clock may have
// been set back.
func endOf(run Run) time.Time {
	if queued := idTime(run.ID); run.FinishedAt.Before(queued) {
		return queued
	}
	return run.FinishedAt
}

// forget removes a run from the history.
func forget(tx *bolt.Tx, run *Run) error {
	return errors.Join(
		tx.Bucket(bucketRuns).Delete([]byte(run.ID)),
		tx.Bucket(bucketByState).Delete(keyByState(run.State, run.ID)),
		tx.Bucket(bucketByProject).Delete(keyByProject(run.Project, run.State, run.ID)),
	)
}

// erase removes what an earlier transaction, which got further than it knew,
// may have written of a run that was then not accepted. It reports whether the
// history has shrunk.
func erase(tx *bolt.Tx, id string) (shrunk bool, err error) {
	key := []byte(id)
	if err := tx.Bucket(bucketQueue).Delete(key); err != nil {
		return false, err
	}
	value := tx.Bucket(bucketRuns).Get(key)
	if value == nil {
		return false, nil
	}
	run, err := decode(key, value)
	if err != nil {
		return false, err
	}
	return true, forget(tx, &run)
}

// listRuns returns the ended runs that f selects, the newest first, by way of
// the index that fits.
func listRuns(tx *bolt.Tx, f Filter) ([]Run, error) {
	var ids []string
	switch {
	case f.State != "" && letters[f.State] == 0: // not a final one
		return nil, nil
	case f.Project == "" && f.State == "":
		ids = newest(tx.Bucket(bucketRuns), nil, f.Limit)
	case f.Project == "":
		ids = newest(tx.Bucket(bucketByState), []byte{letters[f.State]}, f.Limit)
	default:
		for s := range letters {
			if f.State == "" || f.State == s {
				ids = append(ids, newest(tx.Bucket(bucketByProject), keyByProject(f.Project, s, ""), f.Limit)...)
			}
		}
		slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
		ids = limit(ids, f.Limit)
	}
	list := make([]Run, 0, len(ids))
	history := tx.Bucket(bucketRuns)
	for _, id := range ids {
		key := []byte(id)
		run, err := decode(key, history.Get(key))
		if err != nil {
			return list, err
		}
		list = append(list, run)
	}
	return list, nil
}

// newest returns what follows the prefix in the last n keys that have it, the
// last one first; all of them if n is 0.
func newest(b *bolt.Bucket, prefix []byte, n int) []string {
	c := b.Cursor()
	var k []byte
	if len(prefix) == 0 {
		k, _ = c.Last()
	} else {
		after := bytes.Clone(prefix)
		after[len(after)-1]++ // a letter, so nothing overflows
		if k, _ = c.Seek(after); k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
	}
	var ids []string
	for ; bytes.HasPrefix(k, prefix) && k != nil && (n == 0 || len(ids) < n); k, _ = c.Prev() {
		ids = append(ids, string(k[len(prefix):]))
	}
	return ids
}

func limit[T any](s []T, n int) []T {
	if n > 0 && len(s) > n {
		return s[:n]
	}
	return s
}

// A FormatError says that the file is of a later version of this program.
type FormatError struct{ Path, Format string }

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has the format %q, which a later version of this program has made; this one knows the format %q: use the later one, or move the file away", e.Path, e.Format, format)
}

// checkFormat returns a *FormatError if the layout is not the one above.
func checkFormat(tx *bolt.Tx, path string) error {
	value, err := unseal(keyFormat, tx.Bucket(bucketMeta).Get(keyFormat))
	switch {
	case err != nil:
		return fmt.Errorf("read the format: %w", err)
	case string(value) != format:
		return &FormatError{Path: path, Format: string(value)}
	}
	return nil
}
