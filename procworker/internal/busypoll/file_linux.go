package busypoll

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a reader looks before it sleeps. A wait that was
	// shorter is one in which looking is better, so that a wrong guess costs
	// no more than the sleep itself. An answer of a busy process takes about
	// 50 us.
	patience = 100 * time.Microsecond
	// crowded is how long nobody looks after giving way has taken longer than
	// that: somebody else wants the processor, and it can take a whole time
	// slice of everybody's.
	crowded = 20 * time.Millisecond
)

// looking says that a reader of this process looks: each one has a processor to
// itself, and what others want to do must not wait for all of them.
var looking atomic.Bool

// lookAgain is when readers may look again, in nanoseconds since start. 0: now.
var lookAgain atomic.Int64

var start = time.Now()

// fast is a pipe's or a socket's state.
//
// The scheduler is not told of a socket's system calls: they cannot block
// (MSG_DONTWAIT), so that to it they are computation, as giving way is. It would
// otherwise take the processor away from a thread that the kernel has put
// behind another process, and give it back by a futex. A pipe is read as usual:
// even if it does not block, a read waits for a writer whose memory has to be
// fetched first.
type fast struct {
	raw    syscall.RawConn // nil: there is nothing to be had
	socket bool

	// The reader's.
	dst     []byte
	got     int
	readErr error
	eager   bool      // it looks before it sleeps
	since   time.Time // since when it waits; zero: it does not
	onRead  func(fd uintptr) (done bool)

	// The writer's.
	src      []byte
	put      int
	writeErr error
	onWrite  func(fd uintptr) (done bool)
}

// New returns the File of file, which it owns from then on. A deadline that
// was set before is gone.
func New(file *os.File) *File {
	f := &File{File: file}
	raw, err := file.SyscallConn()
	if err != nil || file.SetDeadline(time.Time{}) != nil {
		return f // closed, or not in the poller
	}
	usable := false
	_ = raw.Control(func(fd uintptr) { f.socket, usable = examine(int(fd)) })
	if usable {
		f.raw = raw
		f.onRead, f.onWrite = f.receive, f.send // made once, not for each call
	}
	return f
}

// examine reports whether a descriptor is a stream socket, and whether it is
// that or a pipe that does not block.
func examine(fd int) (socket, usable bool) {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return false, false
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		return true, err == nil && kind == unix.SOCK_STREAM
	case unix.S_IFIFO:
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return false, err == nil && flags&unix.O_NONBLOCK != 0
	}
	return false, false
}

func (f *fast) canRead() bool  { return f.raw != nil }
func (f *fast) canWrite() bool { return f.raw != nil && f.socket }

func (f *fast) read(file *os.File, b []byte) (int, error) {
	f.dst, f.got, f.readErr = b, 0, nil
	err := f.raw.Read(f.onRead)
	f.dst = nil
	switch {
	case err != nil:
		return 0, failed("read", file, err)
	case f.readErr != nil:
		return 0, failed("read", file, f.readErr)
	case f.got == 0:
		return 0, io.EOF
	}
	return f.got, nil
}

// receive is called when there may be something to read, and reports whether
// there was.
func (f *fast) receive(fd uintptr) (done bool) {
	if f.tryRead(int(fd)) {
		f.arrived()
		return true
	}
	if f.since.IsZero() {
		f.since = time.Now()
	}
	if f.eager && f.look(int(fd)) {
		f.arrived()
		return true
	}
	return false
}

// look tries to read until its time is up, and gives way in between.
func (f *fast) look(fd int) (done bool) {
	if !looking.CompareAndSwap(false, true) {
		return false
	}
	defer looking.Store(false)
	now := time.Now()
	for now.Sub(f.since) < patience {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if f.tryRead(fd) {
			return true
		}
		before := now
		if now = time.Now(); now.Sub(before) > patience {
			lookAgain.Store(int64(now.Add(crowded).Sub(start)))
			return false
		}
	}
	return false
}

// arrived draws its conclusion from the wait that is over, if there was one.
func (f *fast) arrived() {
	if f.since.IsZero() {
		return
	}
	now := time.Now()
	// With one processor for all goroutines, the other side may be one of
	// them.
	f.eager = now.Sub(f.since) < patience && !isCrowded(now) && runtime.GOMAXPROCS(0) > 1
	f.since = time.Time{}
}

// isCrowded reports whether somebody else has wanted the processor lately.
func isCrowded(now time.Time) bool {
	again := lookAgain.Load()
	return again != 0 && int64(now.Sub(start)) < again
}

// tryRead reports whether it has read something, or its end.
func (f *fast) tryRead(fd int) (done bool) {
	for {
		n, err := 0, error(nil)
		if f.socket {
			n, err = recv(fd, f.dst)
		} else {
			n, err = unix.Read(fd, f.dst)
		}
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		f.got, f.readErr = max(0, n), err
		return true
	}
}

func (f *fast) write(file *os.File, b []byte) (int, error) {
	f.src, f.put, f.writeErr = b, 0, nil
	err := f.raw.Write(f.onWrite)
	f.src = nil
	if err == nil {
		err = f.writeErr
	}
	if err != nil {
		return f.put, failed("write", file, err)
	}
	return f.put, nil
}

// send writes as much as there is room for, and reports whether it is done.
func (f *fast) send(fd uintptr) (done bool) {
	for f.put < len(f.src) {
		n, err := send(int(fd), f.src[f.put:])
		switch err {
		case nil:
			f.put += n
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			f.writeErr = err
			return true
		}
	}
	return true
}

// failed returns what the file itself would say.
func failed(op string, file *os.File, err error) error {
	if errno := syscall.Errno(0); !errors.As(err, &errno) && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = os.ErrClosed // the poller has a word of its own for it
	}
	return &os.PathError{Op: op, Path: file.Name(), Err: err}
}
