package procworker

import (
	"os"

	"golang.org/x/sys/unix"
)

// widen lets a pipe hold that many bytes. It is not important enough to fail:
// a user may have only so much memory in pipes (pipe(7)).
func widen(pipe *os.File, size int) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	}
}
