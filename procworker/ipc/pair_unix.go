//go:build unix

package ipc

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a new channel, both closed on exec. The
// parent's end is non-blocking, has deadlines, and is ready for [NewConn].
// The child's end blocks, as programs expect of a descriptor that they
// inherit; pass it to the child and close it.
func Pair() (parent, child *os.File, err error) {
	// With the lock no process can be forked between the two system calls,
	// where it would keep both ends.
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		_ = syscall.Close(fds[0])
		_ = syscall.Close(fds[1])
		return nil, nil, os.NewSyscallError("set channel to non-blocking", err)
	}
	return os.NewFile(uintptr(fds[0]), "channel"), os.NewFile(uintptr(fds[1]), "channel of child"), nil
}

// FromEnv returns a worker's end of its channel, which [EnvFD] names. It
// keeps the descriptor from the programs that this process starts, and
// unsets both variables so that none of them believes it has a channel.
//
// Without a usable channel the error is [ErrNoChannel], and tells why. Call
// it once, before other goroutines use the environment or open files.
func FromEnv() (*Conn, error) {
	value, ok := os.LookupEnv(EnvFD)
	_ = os.Unsetenv(EnvFD)
	_ = os.Unsetenv(EnvNodeFD)
	if !ok {
		return nil, fmt.Errorf("%s is not set: %w", EnvFD, ErrNoChannel)
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%s=%q is not a descriptor: %w", EnvFD, value, ErrNoChannel)
	}
	// A variable that outlived its channel may name any file by now.
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, fmt.Errorf("descriptor %d of %s is not a stream socket: %w", fd, EnvFD, ErrNoChannel)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("set channel to non-blocking", err)
	}
	return NewConn(os.NewFile(uintptr(fd), "channel"), Options{}), nil
}
