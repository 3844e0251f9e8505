//go:build !linux

package logs

// yieldProcessor does nothing: only Linux has priorities of threads.
func yieldProcessor() {}
