//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package pidfile

import (
	"os"
	"syscall"
)

// safeFlags keep open from following a link, from waiting for the other end of a named pipe, and from making a terminal
// ours. Package os adds O_CLOEXEC, so that programs we start do not keep the lock.
const safeFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY

// open opens path if it is a regular file, or makes one if flag says so.
func open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|safeFlags, 0o644)
	if err != nil {
		// Systems disagree about the errors for a link, a directory and a socket.
		if fi, lerr := os.Lstat(path); lerr == nil && !fi.Mode().IsRegular() {
			return nil, irregular(path, fi.Mode())
		}
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = irregular(path, fi.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
