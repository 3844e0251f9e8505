// Package pidfile lets one process at a time hold a path, and lets others find that process.
//
//	f, err := pidfile.Create("/run/example.pid")
//	if err != nil {
//		return err // a *HeldError if another process was first
//	}
//	defer f.Close()
//
// # What is true
//
// A pid file on its own proves nothing: its writer may have crashed, and its number may belong to a stranger by now.
// Here the truth is a lock that the kernel keeps on the open file and drops when its holder ends, in whatever way it
// ends. The number inside is what the holder says about itself, and is believed only while the lock is held.
//
//	Absent --Lock--> Held, PID 0 --Write--> Held, PID n --Close--> Absent
//	                    ^    |                   |
//	                   Lock  +-------------------+ the holder ends without Close
//	                    |    v
//	                    Stale
//
// So any regular file that nobody holds is taken over, whatever is inside: nothing, garbage, the pid of a living
// stranger. What is not a regular file is refused, a symbolic link included. Only the holder writes to the file or
// removes it.
//
// A daemon that has more to do before it can be used calls [Lock] first and [File.Write] when its listeners are open,
// so that its number appears when it can be talked to. [Create] does both. The others use [Read], [Signal] and [Wait].
//
// # Limits
//
// The lock belongs to the file, not to its name. Somebody who removes or replaces the file under a living holder makes
// room for a second one; the first one then leaves the new file alone, but it is not told. Keep pid files in a
// directory that only their owner can write to.
//
// On Linux the lock is an open file description lock (fcntl_locking(2)). A second byte is locked once the number is
// written, so that a number left by the dead is never taken for the new holder's, and a reader tests both bytes without
// taking them. On macOS and the BSDs it is flock(2): a reader has to take the lock for an instant to see whether it is
// free (a starter that meets one tries again), and in the moment between [Lock] and its truncation of the file an old
// number can still be seen. On other systems, Windows included, everything here returns an error that is
// [errors.ErrUnsupported].
package pidfile

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// File is a pid file that this process holds. It is made by [Lock] or [Create], and can be used by several goroutines.
//
// The path is held as long as the File is reachable and not closed, and no longer than the process lives. Programs that
// it starts do not inherit the lock.
type File struct {
	path string

	mu   sync.Mutex // guards file
	file *os.File   // nil once closed
}

// Create does what [Lock] and then [File.Write] do. If the number cannot be written, the path is released again.
func Create(path string) (*File, error) {
	f, err := Lock(path)
	if err != nil {
		return nil, err
	}
	if err := f.Write(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Lock takes path for this process, creating the file (mode 0644 before umask) if it is not there and emptying it if it
// is. It never waits for another holder: if there is one, be it this process itself, the error is a [*HeldError].
//
// What is not a regular file, and a directory that is missing or not writable, come back as an [*fs.PathError] in a
// message that says what to do.
func Lock(path string) (*File, error) {
	return lock(path, seams{isAt: isAt})
}

// seams are where tests step between the steps of lock, or switch one off.
type seams struct {
	opened func() // runs after open, before the lock is tried; nil: nothing to do
	isAt   func(f *os.File, path string) (bool, error)
}

// maxTries bounds the retries after the file was replaced under us. Each of them means that another process took or
// released the path meanwhile, so this many in a row mean something else: a file system without stable inode numbers.
const maxTries = 1000

func lock(path string, s seams) (*File, error) {
	for range maxTries {
		f, settled, err := lockOnce(path, s)
		if err != nil {
			return nil, err
		}
		if settled {
			return f, nil
		}
	}
	return nil, fmt.Errorf("lock pid file: %w", &fs.PathError{Op: "lock", Path: path, Err: errUnsettled})
}

// lockOnce is not settled if the file changed hands under it.
func lockOnce(path string, s seams) (held *File, settled bool, err error) {
	f, err := open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, false, fmt.Errorf("lock pid file: %w", explain(err, path))
	}
	defer func() {
		if held == nil {
			f.Close()
		}
	}()
	if s.opened != nil {
		s.opened()
	}
	mine, err := tryLock(f)
	if err != nil {
		return nil, false, fmt.Errorf("lock pid file: %w", &fs.PathError{Op: "lock", Path: path, Err: err})
	}
	// The file that we have just locked may be the one that its last holder has just removed, while a third process
	// locks the one that took its place. Whoever holds the inode behind the path is the holder.
	current, err := s.isAt(f, path)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("lock pid file: %w", err)
	case !current:
		return nil, false, nil
	case !mine:
		return nil, false, &HeldError{Path: path, PID: heldBy(f)}
	}
	if err := empty(f); err != nil {
		return nil, false, fmt.Errorf("lock pid file: empty it: %w", err)
	}
	return &File{path: path, file: f}, true, nil
}

// empty removes the old number. A file that is empty is left alone: ext4 takes a truncation to 0 as the start of a
// replacement, and brings to disk what is written after it (milliseconds) when the file is closed.
func empty(f *os.File) error {
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 {
		return err
	}
	return f.Truncate(0)
}

// isAt reports whether path still leads to f.
func isAt(f *os.File, path string) (bool, error) {
	have, err := f.Stat()
	if err != nil {
		return false, err
	}
	want, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(have, want), nil
}

// Write puts the pid of this process into the file, as decimal digits and a newline. From then on [Read] and [Signal]
// know it. Writing again writes the same.
//
// If it fails, for instance on a full disk, the path is still held and the file is empty. It is an error if the file was
// removed or replaced since it was locked, because another process may hold the path then; it is [fs.ErrNotExist]. After
// Close it is [fs.ErrClosed].
func (f *File) Write() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.write(); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

func (f *File) write() error {
	if f.file == nil {
		return &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrClosed}
	}
	current, err := isAt(f.file, f.path)
	if err != nil {
		return err
	}
	if !current {
		return &fs.PathError{Op: "write", Path: f.path, Err: errLost}
	}
	if _, err := f.file.WriteAt(fmt.Appendln(nil, os.Getpid()), 0); err != nil {
		return f.undo(err)
	}
	if err := lockNumber(f.file); err != nil {
		return f.undo(&fs.PathError{Op: "lock", Path: f.path, Err: err})
	}
	return nil
}

// undo leaves no half of a number behind, and hands back err.
func (f *File) undo(err error) error {
	if terr := f.file.Truncate(0); terr != nil {
		return fmt.Errorf("%w (and the file cannot be emptied: %w)", err, terr)
	}
	return err
}

// Close removes the file, unless another one has taken its place, and releases the path. It does so only once; later
// calls return nil. The path is released even if the file cannot be removed, which is an error all the same.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	// Removing comes first: once the lock is gone, the file may be somebody else's.
	current, err := isAt(file, f.path)
	if err == nil && current {
		err = os.Remove(f.path)
	}
	// Closing alone would leave the lock to a child that is between fork and exec just now.
	if uerr := unlock(file); err == nil && uerr != nil {
		err = &fs.PathError{Op: "unlock", Path: f.path, Err: uerr}
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close pid file: %w", err)
	}
	return nil
}

// String returns the path.
func (f *File) String() string { return f.path }
