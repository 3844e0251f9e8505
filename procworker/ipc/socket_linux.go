package ipc

import (
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A socket is a stream socket that the runtime polls, as [Pair] and [FromEnv]
// have them, with cheaper reads and writes than those of its file.
//
// None of its system calls can block (MSG_DONTWAIT), so the scheduler need
// not be told of them: to it they are computation. What has no answer yet is
// waited for in two steps. While messages come thick and fast, the reader
// first gives way a few times, to other goroutines and to other processes,
// and looks again; only then does it go to sleep in the poller, and to be
// woken from there costs both sides more than such a look. Where they come
// rarely it sleeps at once.
type socket struct {
	*os.File
	raw syscall.RawConn

	// The reader's: Receive is called by one goroutine at a time.
	dst    []byte
	got    int
	gotErr error
	looks  int       // before it goes to sleep
	asleep time.Time // since when it sleeps; zero: it does not
	onRead func(fd uintptr) bool

	// The writer's: it has the turn.
	src     []byte
	put     int
	putErr  error
	onWrite func(fd uintptr) bool
}

const (
	// mostLooks is how often a reader looks before it goes to sleep. On one
	// processor each look is behind what the other process did meanwhile; on
	// several they take about as long as the other side's answer, 50 us.
	mostLooks = 64
	// shortSleep is a sleep so short that looking would have been better.
	shortSleep = 100 * time.Microsecond
)

// polled returns a faster way to use rwc, if there is one, or else rwc.
func polled(rwc io.ReadWriteCloser) io.ReadWriteCloser {
	f, ok := rwc.(*os.File)
	if !ok || f.SetDeadline(time.Time{}) != nil {
		return rwc // it is not in the runtime's poller
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return rwc
	}
	kind := 0
	ctlErr := raw.Control(func(fd uintptr) {
		kind, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
	})
	if ctlErr != nil || err != nil || kind != unix.SOCK_STREAM {
		return rwc
	}
	s := &socket{File: f, raw: raw}
	s.onRead, s.onWrite = s.receive, s.send // made once, not for each message
	return s
}

func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.dst, s.got, s.gotErr = b, 0, nil
	err := s.raw.Read(s.onRead)
	s.dst = nil
	switch {
	case err != nil:
		return 0, s.failed("read", err)
	case s.gotErr != nil:
		return 0, s.failed("read", s.gotErr)
	case s.got == 0:
		return 0, io.EOF
	}
	return s.got, nil
}

// receive is one try to read, and reports whether it was the last one.
func (s *socket) receive(fd uintptr) bool {
	for look := 0; ; look++ {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(s.dst))), uintptr(len(s.dst)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != unix.EAGAIN:
			s.got, s.gotErr = int(n), nil
			if errno != 0 {
				s.got, s.gotErr = 0, errno
			}
			s.awake()
			return true
		case look >= s.looks:
			s.asleep = time.Now()
			return false
		}
		runtime.Gosched()
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

// awake draws its conclusion from the sleep that is over, if there was one.
func (s *socket) awake() {
	if s.asleep.IsZero() {
		return
	}
	s.looks = 0
	if time.Since(s.asleep) < shortSleep {
		s.looks = mostLooks
	}
	s.asleep = time.Time{}
}

func (s *socket) Write(b []byte) (int, error) {
	s.src, s.put, s.putErr = b, 0, nil
	err := s.raw.Write(s.onWrite)
	s.src = nil
	if err == nil {
		err = s.putErr
	}
	if err != nil {
		return s.put, s.failed("write", err)
	}
	return s.put, nil
}

// send writes as much as there is room for, and reports whether it is done.
func (s *socket) send(fd uintptr) bool {
	for s.put < len(s.src) {
		rest := s.src[s.put:]
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			s.put += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.putErr = errno
			return true
		}
	}
	return true
}

// failed returns what the file itself would say.
func (s *socket) failed(op string, err error) error {
	if errno := syscall.Errno(0); !errors.As(err, &errno) && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = os.ErrClosed // the poller has its own word for it
	}
	return &os.PathError{Op: op, Path: s.Name(), Err: err}
}
