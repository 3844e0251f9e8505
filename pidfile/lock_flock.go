//go:build darwin || dragonfly || freebsd || netbsd || openbsd || (linux && pidfile_flock)

// The tag pidfile_flock builds this file on Linux too, so that it can be tested there.

package pidfile

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// How long a starter puts up with readers: each of them has the lock for some microseconds.
const (
	readerTries = 100
	readerPause = time.Millisecond
)

// tryLock takes f if nobody has it. Readers take shared locks: a lock that can be shared has no holder.
func tryLock(f *os.File) (bool, error) {
	for range readerTries {
		if ok, err := flock(f, syscall.LOCK_EX); ok || err != nil {
			return ok, err
		}
		shared, err := flock(f, syscall.LOCK_SH)
		if err != nil || !shared {
			return false, err
		}
		if err := unlock(f); err != nil {
			return false, err
		}
		time.Sleep(readerPause)
	}
	return false, nil
}

// lockNumber has nothing to lock: there is only the one lock.
func lockNumber(*os.File) error { return nil }

// unlock gives f back.
func unlock(f *os.File) error { return retry(f, syscall.LOCK_UN) }

// probe reports whether another open file holds f; the number of a holder is believed.
func probe(f *os.File) (held, numbered bool, err error) {
	free, err := flock(f, syscall.LOCK_SH)
	if err != nil || !free {
		return err == nil, err == nil, err
	}
	return false, false, unlock(f)
}

// flock takes the lock of that kind, without waiting.
func flock(f *os.File, how int) (bool, error) {
	err := retry(f, how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func retry(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}
