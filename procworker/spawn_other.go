//go:build !unix

package procworker

import (
	"context"
	"errors"
	"os"
	"syscall"
)

const (
	syscallCONT = syscall.Signal(0)
	errTextBusy = syscall.Errno(0xffff) // never returned here
)

func sysHandle(fd uintptr) syscall.Handle { return syscall.Handle(fd) }

func signalName(sig syscall.Signal) string { return sig.String() }

// A process is never started on this system.
type process struct{ pid int }

func start(context.Context, *launch) (*process, error) { return nil, errors.ErrUnsupported }

func (p *process) wait()                      {}
func (p *process) signal(os.Signal) error     { return errors.ErrUnsupported }
func (p *process) signalGroup(syscall.Signal) {}
func (p *process) killTree()                  {}
func (p *process) clear() ending              { return ending{} }

// Subreaper is not supported on this system: the error is
// [errors.ErrUnsupported].
func Subreaper() (release func(), err error) {
	return nil, errors.ErrUnsupported
}

// KillOrphans does nothing on this system.
func KillOrphans() {}
