//go:build unix

package project

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock waits for the lock on a file, which it makes if need be. The file stays:
// if it were removed, two could hold locks on two files of that name.
func lock(path string) (unlock func(), err error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
	}
}

// openLock follows no symbolic link: root would make or open a file elsewhere
// for whoever may write to the directory.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	}
	if err == nil {
		giveToOwner(f, filepath.Dir(path))
	}
	return f, err
}

// giveToOwner gives a file that root has just made to the owner of another one,
// who must be able to open it too. Where that cannot be done, in some
// containers, it stays root's.
func giveToOwner(f *os.File, of string) {
	if os.Geteuid() != 0 {
		return
	}
	info, err := os.Stat(of)
	if err != nil {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
}
