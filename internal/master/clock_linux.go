package master

import "golang.org/x/sys/unix"

// monotonicMicroseconds reads the clock that MONOTONIC_USEC means.
func monotonicMicroseconds() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano() / 1000
}
