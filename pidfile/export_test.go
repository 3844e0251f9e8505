package pidfile

import "os"

// SignalHolder is the second half of Signal.
var SignalHolder = signalHolder

// LockSteps is Lock with a stop before the lock is tried and one after it, before anything is written. With recheck
// false it believes that the file it has locked is the one at path.
func LockSteps(path string, opened, locked func(), recheck bool) (*File, error) {
	return lock(path, seams{opened: opened, isAt: func(f *os.File, path string) (bool, error) {
		if locked != nil {
			locked()
		}
		if !recheck {
			return true, nil
		}
		return isAt(f, path)
	}})
}
