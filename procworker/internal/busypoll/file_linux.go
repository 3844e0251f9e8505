package busypoll

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long a reader looks before it sleeps. A sleep that was shorter
// tells that looking would have been better: so it costs at most twice what the
// best choice would have cost. An answer of a busy process takes about 50 us.
const patience = 100 * time.Microsecond

// fast is a pipe's or a socket's state. None of its system calls can block,
// because the descriptor is set so or the call says so, and the scheduler need
// not be told of them: to it they are computation, as giving way is. It would
// otherwise take the processor away from a thread that the kernel has put
// behind another process, and give it back by a futex. (runtime.Gosched, too,
// would be dear: it moves the goroutine to another thread.)
type fast struct {
	raw    syscall.RawConn // nil: there is nothing to be had
	socket bool

	// The reader's.
	dst     []byte
	got     int
	readErr error
	eager   bool      // it looks again before it sleeps
	asleep  time.Time // since when it sleeps; zero: it does not
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
	var begin time.Time
	for {
		n, errno := f.tryRead(fd)
		if errno == unix.EINTR {
			continue
		}
		if errno != unix.EAGAIN {
			f.got, f.readErr = n, nil
			if errno != 0 {
				f.got, f.readErr = 0, errno
			}
			f.awake()
			return true
		}
		now := time.Now()
		if begin.IsZero() {
			begin = now
		}
		if !f.eager || now.Sub(begin) >= patience {
			f.asleep = now
			return false
		}
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

func (f *fast) tryRead(fd uintptr) (int, syscall.Errno) {
	if f.socket {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(f.dst))), uintptr(len(f.dst)), unix.MSG_DONTWAIT, 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.RawSyscall(unix.SYS_READ, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(f.dst))), uintptr(len(f.dst)))
	return int(n), errno
}

// awake draws its conclusion from the sleep that is over, if there was one.
func (f *fast) awake() {
	if f.asleep.IsZero() {
		return
	}
	f.eager = time.Since(f.asleep) < patience
	f.asleep = time.Time{}
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
		rest := f.src[f.put:]
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			f.put += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			f.writeErr = errno
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
