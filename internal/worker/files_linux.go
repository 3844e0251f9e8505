package worker

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// commandFiles opens a command's standard input, and the pipe of its output,
// whose reading end is in the runtime's poller. The others are not, as os.Open
// and os.Pipe would have it: that takes a dozen system calls and wakes up another
// thread, for each run.
func commandFiles() (stdin, r, w *os.File, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open the command's input: %w", &os.PathError{Op: "open", Path: os.DevNull, Err: err})
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		_ = unix.Close(null)
		return nil, nil, nil, fmt.Errorf("make the command's output pipe: %w", os.NewSyscallError("pipe2", err))
	}
	_ = unix.SetNonblock(pipe[0], true) // does not fail for a pipe
	return os.NewFile(uintptr(null), os.DevNull), os.NewFile(uintptr(pipe[0]), "output"), os.NewFile(uintptr(pipe[1]), "output of command"), nil
}
