package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// HeldError says that a path could not be taken because a process holds it.
type HeldError struct {
	Path string
	PID  int // the holder's; 0 if it has not written it yet
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("pid file %s is held by a process that is still starting: wait for it, or use another path", e.Path)
	}
	return fmt.Sprintf("pid file %s is held by process %d: stop it first, or use another path", e.Path, e.PID)
}

// NotHeldError says that there is nobody to signal, and what was found instead of a holder.
type NotHeldError struct {
	Path string
	Info Info // its State is Absent or Stale
}

func (e *NotHeldError) Error() string {
	switch {
	case e.Info.State == Absent:
		return fmt.Sprintf("no process holds pid file %s: there is no such file", e.Path)
	case e.Info.PID == 0:
		return fmt.Sprintf("no process holds pid file %s: it is stale", e.Path)
	default:
		return fmt.Sprintf("no process holds pid file %s: it is stale, left by process %d", e.Path, e.Info.PID)
	}
}

// ErrStarting is what [Signal] returns when a process holds the path but has not written its number yet. It is worth
// trying again.
var ErrStarting = errors.New("its holder has not written its pid yet: try again")

var (
	errUnsettled = errors.New("it is replaced again and again: does its file system keep inode numbers")
	errChanging  = errors.New("its holder changes all the time: try again")

	// errLost is fs.ErrNotExist to those who ask: the file that was locked is not there any more.
	errLost = fmt.Errorf("it was removed or replaced while it was held, another process may hold it now: %w", fs.ErrNotExist)
)

// irregular is the error for a path at which something other than a regular file was found.
func irregular(path string, mode fs.FileMode) error {
	return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("it is %s, not a regular file: remove it, or use another path", kind(mode))}
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	default:
		return "something else"
	}
}

// explain adds the next step to an error from opening path for writing, where the system's words leave it open.
func explain(err error, path string) error {
	dir := filepath.Dir(path)
	if _, derr := os.Stat(dir); os.IsNotExist(derr) {
		return fmt.Errorf("%w: create the directory %s first", err, dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: this user must be able to write to the directory %s and to the file", err, dir)
	}
	return err
}
