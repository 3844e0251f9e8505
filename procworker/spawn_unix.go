//go:build unix && !linux

package procworker

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	syscallCONT = syscall.SIGCONT
	errTextBusy = syscall.ETXTBSY
)

func sysHandle(fd uintptr) int { return int(fd) }

func signalName(sig syscall.Signal) string { return unix.SignalName(sig) }

// A process is a started child.
type process struct {
	pid   int
	os    *os.Process
	state *os.ProcessState // set by wait
}

func start(_ context.Context, l *launch) (*process, error) {
	if l.limits != (Limits{}) {
		return nil, &LimitsError{l.limits.names(), errors.ErrUnsupported}
	}
	sys := &syscall.SysProcAttr{Setpgid: true}
	if u := l.user; u != nil {
		sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	p, err := os.StartProcess(l.path, l.argv, &os.ProcAttr{
		Dir: l.dir, Env: l.env, Files: l.files, Sys: sys,
	})
	if err != nil {
		return nil, err
	}
	return &process{pid: p.Pid, os: p}, nil
}

// wait returns when the child is dead.
func (p *process) wait() {
	p.state, _ = p.os.Wait()
	// The child is reaped, but the group's number stays taken while a member
	// lives, and if none does there is nobody to kill.
	p.signalGroup(syscall.SIGKILL)
}

func (p *process) signal(sig os.Signal) error { return p.os.Signal(sig) }

func (p *process) signalGroup(sig syscall.Signal) { _ = syscall.Kill(-p.pid, sig) }

func (p *process) killTree() {
	p.signalGroup(syscall.SIGKILL)
	_ = p.signal(syscall.SIGKILL) // it may have gone to another group (setpgid(2))
}

// clear tells how the dead child ended; wait has killed its group.
func (p *process) clear() ending {
	if p.state == nil {
		return ending{pid: p.pid, code: -1}
	}
	end := ending{
		pid: p.pid, code: p.state.ExitCode(),
		user: p.state.UserTime(), system: p.state.SystemTime(),
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		end.signal = status.Signal()
		end.coreDump = status.CoreDump()
	}
	if usage, ok := p.state.SysUsage().(*syscall.Rusage); ok {
		end.maxRSS = usage.Maxrss
		if runtime.GOOS != "darwin" {
			end.maxRSS <<= 10 // kilobytes everywhere else
		}
	}
	return end
}

// Subreaper is not supported on this system: the error is
// [errors.ErrUnsupported].
func Subreaper() (release func(), err error) {
	return nil, errors.ErrUnsupported
}

// KillOrphans does nothing on this system.
func KillOrphans() {}
