package runs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// A file is an open file of runs, and how many ended ones it has.
type file struct {
	path    string
	handle  *os.File // bolt's
	info    os.FileInfo
	bolt    *bolt.DB
	found   int // how many runs there were when it was opened
	ended   int
	touched atomic.Int64 // about how many pages were used since they were released

	mu      sync.Mutex // guards what follows
	users   int
	retired bool // not to be used any more
}

// touch notes that pages were used, and releases them when they are many.
func (f *file) touch(pages int) {
	if f.touched.Add(int64(pages)) > mostTouched {
		f.touched.Store(0)
		f.release()
	}
}

// mostTouched is how many pages, of 4 KiB mostly, may have been used. For each
// the system may map as many as 16, those that it has beside it.
const mostTouched = 128

// A DamagedError says that a file of runs is not as it was written.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Path, e.Err) }

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// A LockedError says that another process has the file open.
type LockedError struct{ Path string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by another process: find it with \"fuser %s\"", e.Path, e.Path)
}

// lockTimeout is how long a process that just died, or is about to, may keep
// its lock.
const lockTimeout = 2 * time.Second

// openFile opens the file at path, and creates it if there is none. It returns
// a *DamagedError, a *LockedError, a *[FormatError], or what the system says.
func openFile(path string, noSync bool) (*file, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file of runs: %w", err)
	}
	o, err := openHandle(f, path, noSync)
	if err != nil {
		f.Close() // unless bolt has
		return nil, err
	}
	return o, nil
}

// regular returns a *DamagedError if at path is something that is not, and
// cannot become, a file.
func regular(path string) error {
	notRegular := func(mode os.FileMode) error {
		return &DamagedError{Path: path, Err: fmt.Errorf("it is no regular file: %v", mode)}
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return notRegular(info.Mode())
	}
	link, errLink := os.Lstat(path)
	if err == nil || errLink != nil || !isNowhere(err) {
		return nil // opening it tells what is wrong, if anything is
	}
	to, _ := os.Readlink(path)
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	if dir, errDir := os.Stat(filepath.Dir(to)); errDir == nil && dir.IsDir() && !errors.Is(err, syscall.ELOOP) {
		return nil
	}
	return notRegular(link.Mode())
}

// openHandle checks and opens a file.
func openHandle(f *os.File, path string, noSync bool) (*file, error) {
	if err := f.Chmod(0o600); err != nil {
		return nil, fmt.Errorf("make the file of runs private: %w", err)
	}
	if err := lock(f); err != nil {
		return nil, err
	}
	found, err := inspect(f)
	if err != nil {
		return nil, err
	}
	db, err := openBolt(path, noSync, &f)
	if err != nil {
		return nil, err
	}
	if found.wasteful() {
		if db, err = compact(db, path, noSync, &f); err != nil {
			return nil, err
		}
	}
	ended := found.counts[string(bucketRuns)]
	o := &file{path: path, handle: f, bolt: db, ended: ended, found: ended + found.counts[string(bucketQueue)]}
	if o.info, err = f.Stat(); err == nil {
		err = o.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, o.bolt.Close())
	}
	return o, nil
}

// openBolt gives bolt the file f, or if that is nil the one at path, which it
// sets f to.
func openBolt(path string, noSync bool, f **os.File) (db *bolt.DB, err error) {
	open := func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
		if *f == nil {
			*f, err = os.OpenFile(path, flag, mode)
		}
		return *f, err
	}
	err = guard(path, func() error {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:         lockTimeout,
			FreelistType:    bolt.FreelistMapType,
			NoStatistics:    true,
			NoSync:          noSync,
			InitialMmapSize: initialMap,
			OpenFile:        open,
		})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &LockedError{Path: path}
	}
	if err != nil {
		return nil, fmt.Errorf("open the file of runs: %w", err)
	}
	db.AllocSize = growBy
	return db, nil
}

const (
	// initialMap is address space, not memory. While a file is smaller, growing
	// it does not have to wait for readers.
	initialMap = 64 << 20
	// growBy is how much a file that is full grows at once.
	growBy = 1 << 20
)

// lock takes bolt's own lock on f: nobody must write while it is checked.
func lock(f *os.File) error {
	for start := time.Now(); ; {
		err := tryLock(f)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		case time.Since(start) > lockTimeout:
			return &LockedError{Path: f.Name()}
		}
		<-time.After(20 * time.Millisecond)
	}
}

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// An inspection is what a check has found.
type inspection struct {
	counts      map[string]int // of keys, by bucket
	used, pages uint64
	pageSize    int
}

// compactAbove is the size below which a file is small enough as it is.
const compactAbove = 4 << 20

// wasteful reports whether most of the file is of no use.
func (i inspection) wasteful() bool {
	return i.pages*uint64(i.pageSize) > compactAbove && i.used < i.pages/2
}

// inspect checks a file. One that is empty is as good as new.
func inspect(f *os.File) (inspection, error) {
	i := inspection{counts: make(map[string]int)}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return i, err
	}
	c := checker{
		file:    f,
		size:    info.Size(),
		damaged: func(err error) error { return &DamagedError{Path: f.Name(), Err: err} },
		visit: func(bucket string, key, value []byte) error {
			i.counts[bucket]++
			_, err := unseal(key, value)
			return err
		},
	}
	if err := c.run(); err != nil {
		return i, err
	}
	ended := i.counts[string(bucketRuns)]
	if i.counts[string(bucketByState)] != ended || i.counts[string(bucketByProject)] != ended {
		return i, c.damaged(errors.New("the indexes do not fit the runs"))
	}
	i.used, i.pages, i.pageSize = c.used(), c.pages, c.pageSize
	return i, nil
}

// prepare makes a new file complete and checks the format of an old one.
func (f *file) prepare() error {
	fresh := false
	err := f.view(func(tx *bolt.Tx) error {
		if fresh = tx.Bucket(bucketMeta) == nil; fresh {
			return nil
		}
		return checkFormat(tx, f.path)
	})
	if err != nil || !fresh {
		return err
	}
	if err := f.update(createBuckets); err != nil {
		return fmt.Errorf("create the file of runs: %w", err)
	}
	return syncDir(filepath.Dir(f.path))
}

// view and update are bolt's, with damage as an error. After a *DamagedError
// the file may hold locks for ever: it must not be used again, nor closed, but
// retired.

func (f *file) view(fn func(*bolt.Tx) error) error {
	if !f.enter() {
		return errRetired
	}
	defer f.leave()
	return guard(f.path, func() error { return f.bolt.View(fn) })
}

func (f *file) update(fn func(*bolt.Tx) error) error {
	return guard(f.path, func() error { return f.bolt.Update(fn) })
}

// errRetired says that there is another file by now.
var errRetired = errors.New("the file is not in use any more")

// guard runs f. What goes wrong when memory is a file that somebody has cut off
// or written to, a fault or an assertion of bolt, becomes a *DamagedError.
func guard(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &DamagedError{Path: path, Err: fmt.Errorf("%v", p)}
		}
		if errors.Is(err, errChecksum) {
			err = &DamagedError{Path: path, Err: err}
		}
	}()
	return f()
}

// compactSuffix names the file that a compaction writes.
const compactSuffix = ".compacting"

// compact writes what an open file has into a new one and puts that in its
// place. If that fails, the old one stays as it was, and is what it returns.
func compact(db *bolt.DB, path string, noSync bool, f **os.File) (*bolt.DB, error) {
	small := path + compactSuffix
	if err := copyCompact(db, small); err != nil {
		os.Remove(small)
		return db, nil // there is no room for it now
	}
	if err := db.Close(); err != nil {
		return nil, fmt.Errorf("close the file of runs: %w", err)
	}
	if err := errors.Join(os.Rename(small, path), syncDir(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("replace the file of runs by a smaller one: %w", err)
	}
	*f = nil
	return openBolt(path, noSync, f)
}

func copyCompact(from *bolt.DB, path string) error {
	os.Remove(path)
	to, err := openBolt(path, true, new(*os.File))
	if err != nil {
		return err
	}
	err = guard(path, func() error { return bolt.Compact(to, from, 1<<20) })
	return errors.Join(err, to.Sync(), to.Close())
}

// syncDir puts the names in a directory on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
