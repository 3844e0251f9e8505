package logs

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// yieldProcessor lets everybody else go first: the goroutine that calls it has
// a thread of the lowest priority to itself, which ends with it. An error
// leaves the priority as it was.
func yieldProcessor() {
	runtime.LockOSThread() // for good: nobody else gets this thread
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
}
