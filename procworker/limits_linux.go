package procworker

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// forkExec starts the child traced: the kernel stops it at the end of its
// execve(2), where this thread puts the limits on it from outside (prlimit(2))
// and lets it go (ptrace(2)). So they never were this process's own, no other
// program is needed to set them, and an error of execve is still told as such.
// The umask cannot be set from outside; it is inherited from this thread.
func (l Limits) forkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if err := l.check(); err != nil {
		return 0, err
	}
	if l.Umask != 0 {
		restore, err := ownUmask(max(l.Umask, 0))
		if err != nil {
			return 0, &LimitsError{"umask", err}
		}
		defer restore()
		l.Umask = 0
	}
	if l == (Limits{}) {
		return syscall.ForkExec(path, argv, attr)
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 && os.Geteuid() != 0 {
		return 0, &LimitsError{l.names(), errSetUID}
	}
	traced := *attr
	var sys syscall.SysProcAttr
	if attr.Sys != nil {
		sys = *attr.Sys
	}
	sys.Ptrace = true
	traced.Sys = &sys
	if pid, err = syscall.ForkExec(path, argv, &traced); err != nil {
		return 0, err
	}
	if err := l.release(pid); err != nil {
		discard(pid, sys.PidFD)
		return 0, err
	}
	return pid, nil
}

// release puts the limits on a child that is stopped, or on its way there, and
// lets it run.
func (l Limits) release(pid int) error {
	var info unix.Siginfo
	for {
		// Without taking it: its end is for whoever waits for the child.
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return &LimitsError{l.names(), os.NewSyscallError("waitid", err)}
		}
	}
	if err := l.put(pid); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	// ESRCH: somebody has killed it. That is told like any other end.
	if err := unix.PtraceDetach(pid); err != nil && !errors.Is(err, unix.ESRCH) {
		return &LimitsError{l.names(), os.NewSyscallError("ptrace", err)}
	}
	return nil
}

// put sets the limits of another process.
func (l Limits) put(pid int) error {
	for _, r := range []struct {
		name     string
		resource int
		value    int64
	}{
		{"nofile", unix.RLIMIT_NOFILE, l.NoFile},
		{"nproc", unix.RLIMIT_NPROC, l.NProc},
		{"core", unix.RLIMIT_CORE, l.Core},
		{"addressSpace", unix.RLIMIT_AS, l.AddressSpace},
	} {
		if r.value == 0 {
			continue
		}
		value := uint64(max(r.value, 0))
		limit := unix.Rlimit{Cur: value, Max: value}
		err := unix.Prlimit(pid, r.resource, &limit, nil)
		if errors.Is(err, unix.EPERM) {
			err = errMayNotLimit
		}
		if err != nil {
			return &LimitsError{r.name, err}
		}
	}
	if l.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, pid, l.Nice); err != nil {
			return &LimitsError{"nice", os.NewSyscallError("setpriority", err)}
		}
	}
	return nil
}

var errMayNotLimit = fmt.Errorf("prlimit: %w; raising a hard limit, or setting one for another user, takes CAP_SYS_RESOURCE", unix.EPERM)

// discard ends a child that is not to be.
func discard(pid int, pidfd *int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if pidfd != nil && *pidfd >= 0 {
		_ = unix.Close(*pidfd)
		*pidfd = -1
	}
}

// ownUmask gives the calling thread a umask of its own.
func ownUmask(mask int) (restore func(), err error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	old := unix.Umask(mask)
	return func() { unix.Umask(old) }, nil
}
