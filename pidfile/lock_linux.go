//go:build linux && !pidfile_flock

package pidfile

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The bytes that are locked; they need not exist. Both belong to the holder, and the kernel drops both in one step.
const (
	ownerByte  = 0 // locked by whoever holds the file
	numberByte = 1 // locked by the holder once its number is written
)

// tryLock takes f if nobody has it.
func tryLock(f *os.File) (bool, error) {
	err := control(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: ownerByte, Len: 1})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// lockNumber vouches for the number in f.
func lockNumber(f *os.File) error {
	return control(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: numberByte, Len: 1})
}

// unlock gives f back.
func unlock(f *os.File) error {
	return control(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
}

// probe reports whether another open file holds f, and vouches for the number in it. It takes nothing.
func probe(f *os.File) (held, numbered bool, err error) {
	numbered, err = isLocked(f, numberByte)
	if err != nil || numbered {
		return numbered, numbered, err
	}
	held, err = isLocked(f, ownerByte)
	return held, false, err
}

func isLocked(f *os.File, at int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	err := control(f, unix.F_OFD_GETLK, &lk)
	return err == nil && lk.Type != unix.F_UNLCK, err
}

func control(f *os.File, cmd int, lk *unix.Flock_t) error {
	lk.Whence = io.SeekStart
	for {
		if err := unix.FcntlFlock(f.Fd(), cmd, lk); err != unix.EINTR {
			return err
		}
	}
}
