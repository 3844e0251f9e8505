package runs

import (
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// release gives the pages of the file back that this process has mapped: they
// count as its memory, and nobody else would ever take them out. What is needed
// again comes from the system's cache.
func (f *file) release() {
	_ = f.view(func(tx *bolt.Tx) error { // while this is open, nobody maps the file anew
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, f.bolt.Info().Data, uintptr(tx.Size()), syscall.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
