package procworker

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Limits bound what a child may use, on Linux. What is 0 stays as this process
// has it; a negative value stands for 0.
type Limits struct {
	// Resource limits, soft and hard, of each single process: see setrlimit(2).
	NoFile       int64 // open files
	NProc        int64 // processes and threads of the child's user, on the whole machine; root is exempt
	Core         int64 // bytes of a core dump
	AddressSpace int64 // bytes of address space

	// Of the child and its descendants together, by its cgroup: see
	// [Worker.Cgroups].
	Memory int64 // bytes
	PIDs   int64 // processes and threads

	Nice  int // from -20, first, to 19, last; see setpriority(2)
	Umask int // as in umask(2)
}

// A LimitsError tells that a limit cannot be put on a child.
type LimitsError struct {
	Limit string // which one, such as "nofile"
	Err   error
}

func (e *LimitsError) Error() string { return fmt.Sprintf("limit %s: %v", e.Limit, e.Err) }

func (e *LimitsError) Unwrap() error { return e.Err }

// OfProcess returns l without what only a cgroup keeps.
func (l Limits) OfProcess() Limits {
	l.Memory, l.PIDs = 0, 0
	return l
}

// A Credential is the user that a child runs as. It takes root, or what
// capabilities(7) calls CAP_SETUID and CAP_SETGID, and together with resource
// limits CAP_SYS_RESOURCE.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // the supplementary groups
}

// ForkExec is syscall.ForkExec under these limits: they are in force before
// the first instruction of the new program. Memory and PIDs are not, as only a
// cgroup keeps them. If there are any, the calling goroutine must be locked to
// its thread. With Umask, that thread has a umask and a working directory of
// its own from then on (CLONE_FS, unshare(2)): os.Chdir does not reach it.
//
// The error is a [*LimitsError] if a limit is why there is no child.
func (l Limits) ForkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	return l.OfProcess().forkExec(path, argv, attr)
}

// check finds what can never be.
func (l Limits) check() error {
	if l.Nice < -20 || l.Nice > 19 {
		return &LimitsError{"nice", fmt.Errorf("%d is out of range; use -20..19", l.Nice)}
	}
	if l.Umask > 0o777 {
		return &LimitsError{"umask", fmt.Errorf("%#o is out of range; use 0..0777", l.Umask)}
	}
	return nil
}

var errSetUID = errors.New("a set-uid program does not get its rights under limits; start it by another one, such as sh -c")

// names lists the limits of one kind, for messages.
func (l Limits) names() string {
	var names []string
	for _, n := range []struct {
		name string
		set  bool
	}{
		{"nofile", l.NoFile != 0},
		{"nproc", l.NProc != 0},
		{"core", l.Core != 0},
		{"addressSpace", l.AddressSpace != 0},
		{"memory", l.Memory != 0},
		{"pids", l.PIDs != 0},
		{"nice", l.Nice != 0},
		{"umask", l.Umask != 0},
	} {
		if n.set {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}
