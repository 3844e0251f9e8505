//go:build unix && !linux

package procworker

import (
	"errors"
	"syscall"
)

func (l Limits) forkExec(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	if err := l.check(); err != nil {
		return 0, err
	}
	if l == (Limits{}) {
		return syscall.ForkExec(path, argv, attr)
	}
	return 0, &LimitsError{l.names(), errors.ErrUnsupported}
}
