//go:build !unix

package procworker

import (
	"errors"
	"syscall"
)

func (l Limits) forkExec(string, []string, *syscall.ProcAttr) (int, error) {
	return 0, errors.ErrUnsupported
}
