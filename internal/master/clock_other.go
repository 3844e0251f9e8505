//go:build !linux

package master

// monotonicMicroseconds is of use to systemd alone.
func monotonicMicroseconds() int64 { return 0 }
