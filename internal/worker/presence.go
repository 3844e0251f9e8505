package worker

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Presence shows on a lock file that this process is there, until release is
// called or the process ends, whatever ends it. Any number of processes can be
// present. Commands that it starts do not count.
func Presence(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("show presence: %w", err)
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return nil, fmt.Errorf("show presence: %w", err)
	}
	return f.Close, nil
}

// AwaitAbsence waits until nobody is present on a lock file. It is for a
// daemon that starts right after another one was killed: that one's workers
// take a moment to notice and to stop their runs, which must not be started a
// second time meanwhile.
//
// When ctx ends first the error wraps ctx's. The goroutine that waits for the
// kernel then stays until there is nobody.
func AwaitAbsence(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("look for workers: %w", err)
	}
	alone := make(chan error, 1)
	go func() {
		defer f.Close()
		alone <- flock(f, unix.LOCK_EX)
	}()
	select {
	case err := <-alone:
		if err != nil {
			return fmt.Errorf("look for workers: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("workers of a daemon before this one are still there: %w", ctx.Err())
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}
