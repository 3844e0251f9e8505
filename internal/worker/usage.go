package worker

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A usage is what processes used.
type usage struct {
	user, system time.Duration
	maxRSS       int64 // in bytes, of the largest one
}

// add adds what a process used that was waited for, which includes what its
// own children used that it waited for.
func (u *usage) add(ru unix.Rusage) {
	u.user += time.Duration(ru.Utime.Nano())
	u.system += time.Duration(ru.Stime.Nano())
	rss := int64(ru.Maxrss)
	if runtime.GOOS != "darwin" { // which counts in bytes, the others in KiB
		rss *= 1024
	}
	u.maxRSS = max(u.maxRSS, rss)
}
