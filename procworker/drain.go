package procworker

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/internal/busypoll"
)

// How much may be read after the child's end: more than the kernel keeps for
// a channel or a pipe, so that all that the child has said is heard, while a
// stranger that holds the other end cannot go on for ever.
const (
	channelBudget = 8 << 20
	outputBudget  = 2 << 20
)

// A drainFile reads a pipe or socket whose other end may outlive the child.
// Until drain it reads like the file. From then on it reads what is there,
// and then returns io.EOF instead of waiting for more.
type drainFile struct {
	*busypoll.File
	budget int // used by the one reader

	once sync.Once
	raw  syscall.RawConn // not nil once the reader has seen that drain was called
}

func newDrainFile(f *os.File, budget int) *drainFile {
	return &drainFile{File: busypoll.New(f), budget: budget}
}

// drain makes the reader stop waiting. It may be called while it reads.
func (d *drainFile) drain() {
	// A deadline that has passed fails the read in progress, or the next one.
	d.once.Do(func() { _ = d.SetReadDeadline(time.Unix(1, 0)) })
}

// hangUp makes all writes fail, those that wait too: whoever holds the other
// end of a dead child's channel need not ever read.
func (d *drainFile) hangUp() {
	if raw, err := d.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(sysHandle(fd), syscall.SHUT_WR) })
	}
	// A shutdown does not wake a writer. A deadline alone would not do: the
	// end of a Send takes it away.
	_ = d.SetWriteDeadline(time.Unix(1, 0))
}

// Read reads. One goroutine at a time.
func (d *drainFile) Read(p []byte) (int, error) {
	if d.raw == nil {
		n, err := d.File.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if d.raw, err = d.SyscallConn(); err != nil {
			return 0, err
		}
		if err = d.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	return d.readNow(p)
}

func (d *drainFile) readNow(p []byte) (n int, err error) {
	if d.budget <= 0 {
		return 0, io.EOF
	}
	rawErr := d.raw.Read(func(fd uintptr) (done bool) {
		for {
			if n, err = syscall.Read(sysHandle(fd), p); !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	switch {
	case rawErr != nil:
		return 0, rawErr
	case errors.Is(err, syscall.EAGAIN):
		return 0, io.EOF
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n <= 0:
		return 0, io.EOF
	}
	d.budget -= n
	return n, nil
}
